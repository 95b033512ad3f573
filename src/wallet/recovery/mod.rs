//! VTXOs that the wallet owns and its database does not know (docs/protocol.md §4.10, §4.11): the recovery from the seed, the
//! reconciliation of a database that is older than the wallet, and the judgement that imports share with them.
//!
//! ```text
//!  start ─▶ Keys ─▶ Mailbox ─▶ Reported ─▶ Backup ─▶ Bodies ─▶ States ─▶ Rounds ─▶ Judge ─▶ done
//!            ⟲        ⟲          ⟲           ⟲         ⟲         ⟲         ⟲        │ ⟲
//!                                                                                   ▼
//!                                                                                Doubts ─▶ done
//! ```
//!
//! | state | the remote calls | what its commit stores |
//! |---|---|---|
//! | Keys | list the VTXOs of the next keys | candidates, the next key |
//! | Mailbox | read the next page of the mailbox, from its first message on | candidates, reported rounds, the cursor |
//! | Reported | query a round that the mailbox reports | its outputs as candidates |
//! | Backup | read the next page of the recovery mailbox, from its first message on | candidates, the cursor |
//! | Bodies | fetch VTXOs by their ids | their bodies |
//! | States | ask for the states of VTXOs whose keys are ours | the states; foreign ones |
//! | Rounds | query and check a round whose forfeits are missing | the refresh that completes it |
//! | Judge | compare with the chain | VTXOs, verdicts, movement |
//! | Doubts | fetch, ask and compare again, at each block and every ten minutes | VTXOs, verdicts, movement |
//!
//! Each page is committed together with the place of the next one, so that a restart goes on where the recovery was. The server's
//! word makes no VTXO spendable by itself: the [judgement](judge) compares it with keys, signatures and chain. Entries that are not ours
//! are counted and skipped; one that may be ours is kept until it is decided (H35). Spent VTXOs are stored as spent, so that no replayed
//! message brings them back (H36).

pub(in crate::wallet) mod adopt;
mod fetch;
pub(in crate::wallet) mod history;
pub(in crate::wallet) mod import;
pub(in crate::wallet) mod judge;
mod newer_copy;
mod report;
mod rounds;
mod scan;
mod start;
mod take;
pub(in crate::wallet) mod unproven;

use ark_lib::VtxoId;
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Result, Wallet};

pub use report::RecoveryReport;
pub(in crate::wallet) use start::begin_from_seed;

/// The state of a recovery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Recovery {
    /// The server lists the VTXOs of the wallet's keys.
    Keys {
        /// The index of the next key.
        start: u32,
        /// The VTXO of this key after which the list continues.
        cursor: Option<VtxoId>,
    },
    /// The messages of the mailbox after this one.
    Mailbox {
        /// Its checkpoint.
        cursor: u64,
        /// Pages in a row that have brought nothing.
        #[serde(default)]
        idle: u32,
    },
    /// The rounds that the mailbox reports.
    Reported,
    /// The messages of the recovery mailbox after this one.
    Backup {
        /// Its checkpoint.
        cursor: u64,
        /// Pages in a row that have brought nothing.
        #[serde(default)]
        idle: u32,
    },
    /// Bodies of VTXOs.
    Bodies,
    /// States of VTXOs.
    States,
    /// Rounds that are not complete.
    Rounds,
    /// What the VTXOs are worth.
    Judge,
    /// What the doubtful ones are worth.
    Doubts,
}

impl Recovery {
    /// The name of the phase in the API.
    fn phase(&self) -> &'static str {
        match self {
            Recovery::Keys { .. } => "keys",
            Recovery::Mailbox { .. } => "mailbox",
            Recovery::Reported => "reported_rounds",
            Recovery::Backup { .. } => "recovery_mailbox",
            Recovery::Bodies => "bodies",
            Recovery::States => "states",
            Recovery::Rounds => "rounds",
            Recovery::Judge => "judge",
            Recovery::Doubts => "doubts",
        }
    }
}

impl Flow for Recovery {
    const KIND: OperationKind = OperationKind::Recovery;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Recovery>> {
        match self {
            Recovery::Keys { start, cursor } => scan::keys(wallet, id, tries, start, cursor).await,
            Recovery::Mailbox { cursor, idle } => scan::mailbox(wallet, id, cursor, idle).await,
            Recovery::Reported => scan::reported(wallet, id, tries).await,
            Recovery::Backup { cursor, idle } => scan::backup(wallet, id, cursor, idle).await,
            Recovery::Bodies => fetch::bodies(wallet, id, tries).await,
            Recovery::States => fetch::states(wallet, id, tries).await,
            Recovery::Rounds => rounds::next(wallet, id, tries).await,
            Recovery::Judge => take::judge(wallet, id).await,
            Recovery::Doubts => take::doubts(wallet, id).await,
        }
    }

    fn answers_caller(&self) -> bool {
        matches!(self, Recovery::Doubts)
    }
}
