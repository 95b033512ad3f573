//! Offboards: VTXOs become an on-chain output (docs/protocol.md §4.8).
//!
//! ```text
//!  start ─▶ RegisterInputs ─▶ Split ─▶ RegisterSplit ─┐      (send-onchain: the exact amount is split off first)
//!    │           ▲             │ ▲                    │
//!    │           └─ Doubted ◀──┘ │                    ▼
//!    └▶ RegisterWhole ───────────┼──────────────▶ Prepare ─▶ Finish ─▶ Broadcast ─▶ Confirm ─▶ done
//!                                │                 │   ▲       │                      ▲
//!               failed ◀─────────┴─────────────────┘   └───────┴── session lost ──────┘ found on chain
//! ```
//!
//! | state | the remote call | what its commit holds |
//! |---|---|---|
//! | RegisterInputs, RegisterWhole | upload the inputs' signed chains | that the server has them |
//! | Split | the server signs a payment to ourselves; from here on it takes the inputs for spent | inputs spent, change stored, the split VTXOs locked |
//! | Doubted | ask what the server holds of an input | back to Split, or inputs free again |
//! | RegisterSplit | upload the new chains | that the server has them |
//! | Prepare | ask for the transaction | the checked transaction and nonces; forfeits may be out from now on |
//! | Finish | hand over the forfeits for the signed transaction | the signed transaction |
//! | Broadcast | hand the transaction to the network | that it is out |
//! | Confirm | look how deep it is | inputs spent, the movement's end |
//!
//! The forfeits are only worth something to the server once the transaction confirms, and then it has paid. So from Prepare
//! on inputs are released only when the server itself proves that it has not taken them; a session that it has lost is
//! looked for on chain first, and then asked for again (hazards H3, H28-H30). A transaction that vanishes is broadcast again;
//! its inputs stay locked however long that takes (H29).

mod settle;
mod split;
mod start;
mod steps;
use ark_lib::VtxoId;
use ark_lib::offboard::OffboardRequest;
use bitcoin::{Amount, SignedAmount, Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::model::MovementStatus;
use crate::model::{OperationId, OperationKind};
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Flow, Next, Step, Tries};
use crate::wallet::flows::send;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

pub use start::OffboardOutcome;

/// How far an offboard is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Offboard {
    /// The server may lack the chains of the VTXOs that are split.
    RegisterInputs(Payout),
    /// The server is asked to sign the split.
    Split(Payout),
    /// The server refused to, but an earlier try may have reached it.
    Doubted {
        /// The payout that is in doubt.
        payout: Payout,
        /// What the server said.
        refusal: String,
    },
    /// The server may lack the chains of what the split made.
    RegisterSplit {
        /// What goes on chain.
        order: Order,
        /// What came back.
        change: Vec<VtxoId>,
    },
    /// The server may lack the chains of the VTXOs that go on chain as a whole.
    RegisterWhole(Order),
    /// The server is asked for the transaction.
    Prepare {
        /// What goes on chain.
        order: Order,
        /// The transactions of earlier sessions that the server has lost; it has our forfeits for them.
        prior: Vec<Txid>,
    },
    /// Our forfeits may be out; the signed transaction has to come.
    Finish(Prepared),
    /// It is signed; it has to get out.
    Broadcast(Settling),
    /// It is out; it has to get deep enough.
    Confirm(Settling),
}

/// A payment of an exact amount: what is split off, and what is done with it then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Payout {
    /// To a key of ours: the amount and the fee.
    split: send::Payment,
    request: OffboardRequest,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    fee: Amount,
}

/// What goes on chain; the first remote call about it depends on nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Order {
    /// In ascending order of their ids.
    inputs: Vec<VtxoId>,
    request: OffboardRequest,
}

/// A transaction that pays what was ordered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Prepared {
    order: Order,
    /// Not signed.
    transaction: Transaction,
    /// The server's nonces for the forfeits, hex, one for each input.
    nonces: Vec<String>,
    /// As in [`Offboard::Prepare`].
    prior: Vec<Txid>,
}

/// A signed transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Settling {
    inputs: Vec<VtxoId>,
    transaction: Transaction,
    /// When it was signed, unix milliseconds.
    since: i64,
}

impl Flow for Offboard {
    const KIND: OperationKind = OperationKind::Offboard;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Offboard>> {
        match self {
            Offboard::RegisterInputs(payout) => {
                split::register_inputs(wallet, id, payout, tries).await
            }
            Offboard::Split(payout) => split::cosign(wallet, id, payout, tries).await,
            Offboard::Doubted { payout, refusal } => {
                split::settle_doubt(wallet, id, payout, &refusal).await
            }
            Offboard::RegisterSplit { order, change } => {
                split::register_outputs(wallet, order, change).await
            }
            Offboard::RegisterWhole(order) => steps::register_whole(wallet, id, order, tries).await,
            Offboard::Prepare { order, prior } => {
                steps::prepare(wallet, id, order, prior, tries).await
            }
            Offboard::Finish(prepared) => steps::finish(wallet, id, prepared).await,
            Offboard::Broadcast(settling) => settle::broadcast(wallet, settling).await,
            Offboard::Confirm(settling) => settle::confirm(wallet, id, settling).await,
        }
    }

    /// A caller gets the answer when the payment is out.
    fn answers_caller(&self) -> bool {
        matches!(self, Offboard::Confirm(_))
    }
}

impl Offboard {
    /// The transaction, as soon as there is one.
    fn transaction(&self) -> Option<&Transaction> {
        match self {
            Offboard::Finish(prepared) => Some(&prepared.transaction),
            Offboard::Broadcast(settling) | Offboard::Confirm(settling) => {
                Some(&settling.transaction)
            }
            _ => None,
        }
    }
}

/// It did not happen, and that is certain: the inputs are free again.
fn abort(id: &OperationId, reason: Error) -> Step<Offboard> {
    let id = id.clone();
    Step::commit(
        CommitPoint::OffboardAborted,
        Next::Failed(reason),
        move |tx| {
            vtxo::release(tx, &id)?;
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                movement::finish(
                    tx,
                    movement,
                    MovementStatus::Failed,
                    Some(SignedAmount::ZERO),
                    clock::now_millis(),
                )?;
            }
            Ok(())
        },
    )
}

fn refused(message: &str) -> Error {
    Error::conflict(
        "server_refused",
        format!("the Ark server refuses the offboard, nothing was paid: {message}"),
    )
}
