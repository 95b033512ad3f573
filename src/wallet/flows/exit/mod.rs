//! Unilateral exits: a VTXO is put on chain without the Ark server, and its output is claimed (docs/protocol.md §4.9).
//!
//! ```text
//!  start ─▶ Start ─▶ Publish ─▶ Mature ─▶ Settle ─▶ done
//!             │       │   ▲     │ │ │ ▲       │
//!  failed ◀───┴───────┘   └─────┘ │ └─┴───────┘
//!   canceled, spent,              ▼  reorganisations
//!   swept                      failed
//!                               swept
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | Start | none; it waits for a sync interval, in which a person can still cancel for free | |
//! | Publish | how far each transaction is, from the top; broadcast the first unconfirmed one with a child that pays for it | before the broadcast the child and its coins; after it what the chain says |
//! | Mature | whether the last transaction is still confirmed, and what spends the output | what the chain says; when the output is claimed, the movement |
//! | Settle | whether the claim is still confirmed, until it is deep | if it is not, the exit is under way again |
//!
//! Each step reads the chain from the top, so nothing depends on what an earlier step saw (H25). The VTXO stays as it was, and can
//! be spent off chain, until its own transaction is confirmed (H23, H24). What a person asks for (another fee rate, the end of the exit,
//! a claim) is written to the row of the table `exit`, and the operation is woken: only its own step acts on the network.

mod cancel;
mod child;
mod claim;
mod clause;
mod end;
mod estimate;
mod facts;
mod leftover;
mod list;
mod look;
mod mature;
mod note;
mod output;
mod progress;
mod publish;
mod reserve;
mod serve;
mod settle;
mod standing;
mod start;
mod stored;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::wallet::engine::{Flow, Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

pub use claim::ClaimOutcome;
pub use estimate::{ExitEstimate, ExitQuestion, VtxoEstimate};
pub use list::{ExitDetail, ExitFilter, ExitPackage, ExitStatus, PackageChild};
pub use progress::ExitProgress;
pub use start::{ExitsBegun, SkippedExit, StartedExit};

pub(in crate::wallet) use start::ExitCause;

/// How long an exit that a person asked for waits for `POST /exits/progress` when nothing happens without a request.
const UNTIL_ASKED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Confirmations after which a transaction is final.
const FINAL_DEPTH: u32 = 6;

/// How far an exit is. What the API shows of it is in the table `exit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Exit {
    /// A person asked for it a moment ago.
    Start,
    /// Its transactions have to confirm.
    Publish,
    /// All are confirmed; the output has to be claimed.
    Mature,
    /// The output is claimed; a reorganisation can still take the claim back.
    Settle,
}

impl Flow for Exit {
    const KIND: OperationKind = OperationKind::Exit;

    async fn step(self, wallet: &Wallet, id: &OperationId, _tries: Tries) -> Result<Step<Exit>> {
        match self {
            Exit::Start => Ok(wait_for_progress(wallet)),
            Exit::Publish => publish::publish(wallet, id).await,
            Exit::Mature => mature::mature(wallet, id).await,
            Exit::Settle => settle::settle(wallet, id).await,
        }
    }

    /// Nobody waits for an exit.
    fn answers_caller(&self) -> bool {
        true
    }
}

/// Waits for a sync interval, or until a request asks for progress.
fn wait_for_progress(wallet: &Wallet) -> Step<Exit> {
    let pause = match wallet.manual_sync() {
        true => UNTIL_ASKED,
        false => wallet.sync_interval(),
    };
    let next = Next::Later(Exit::Publish, pause);
    Step::commit(CommitPoint::ExitStarted, next, |_| Ok(()))
}
