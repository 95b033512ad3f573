//! Refreshes: a round replaces VTXOs with new ones, which hang from a tree that one on-chain transaction funds
//! (docs/protocol.md §4.5).
//!
//! ```text
//!            ┌──────────────────── the attempt failed ─────────────────────────┐
//!            ▼                                                                 │
//!  start ─▶ Wait ─▶ Join ─▶ Joined ─▶ Sign ─▶ Signed ──────────────────────────┤
//!    │       │ inputs spent   │                 │                              │
//!    ▼       ▼                └── query the participation's status at the server
//!  RegisterInputs  failed                       │ the round was issued
//!    │                                          ▼
//!    └▶ Delegate ─▶ Delegated ─────────────▶ Issued ─▶ Confirm ─▶ Forfeit ─▶ RegisterOutputs ─▶ done
//!          ▲           │                        └─────────┴─▶ failed, inputs released or exited
//!          └───────────┘ some inputs were spent, or the server dropped the participation
//! ```
//!
//! | state | the remote call | what its commit stores |
//! |---|---|---|
//! | RegisterInputs | upload the inputs' signed chains | the inputs are registered |
//! | Wait | none; waits for a round to start | inputs locked, the attempt to join |
//! | Join | submit inputs and output requests to the attempt | the unlock hash, which identifies the participation |
//! | Joined | none; waits for the proposed tree, checks and signs it | our partial signatures, the ids of the new VTXOs |
//! | Sign | submit the partial signatures | the signatures were submitted |
//! | Signed | query the participation, once the attempt is over | the round's transaction, the locked new VTXOs |
//! | Delegate | submit the participation | the unlock hash |
//! | Delegated | query the participation | the round's transaction, the locked new VTXOs |
//! | Issued | look for the round's transaction, or broadcast it | inputs locked, even if another operation held them |
//! | Confirm | once confirmed: register the inputs, cosign the new leaves | the signed leaves; forfeits may be sent from here on |
//! | Forfeit | forfeit the inputs for the unlock preimage | inputs spent, new VTXOs spendable, movement finished |
//! | RegisterOutputs | upload the new VTXOs' signed chains | the new VTXOs are registered |
//!
//! Before Forfeit the wallet gives nothing up: whatever the server does or forgets, the inputs remain ours and releasing them
//! is safe. A round whose transaction does not confirm, or that is not what was asked for, ends with the exit of its inputs, shortly
//! before they expire. From Forfeit on the inputs are never released; the same forfeits are sent until the preimage arrives (W10). If it
//! does not arrive in time, the inputs are exited: then the server's claim of the forfeited output shows the preimage, or the wallet takes
//! that output after the exit delay (W11).
//! Secret nonces are kept in memory only. An attempt whose nonces are lost is abandoned, never signed with new ones (H1). A
//! missed event decides nothing: the wallet queries the participation's status (W13), and checks the answer (§4.16).
//!
//! The server's word starts no refresh. A tree that the wallet has not signed is taken only for a delegated refresh (H48), and a
//! round that no refresh waits for only if a delegated refresh has asked for exactly that one (H46); the operator decides about
//! others.

mod attempt_id;
mod attempt_keys;
mod auto_refresh;
mod bodies;
mod check_issued;
mod check_proposal;
mod confirm;
mod delegate;
mod endangered;
mod events;
mod expiry;
mod forfeit;
mod join;
mod list;
mod plan;
mod quote;
mod recover;
mod register;
mod reported;
mod resolve;
mod sign;
mod start;
mod withheld;

use std::time::Duration;

use ark_lib::VtxoId;
use ark_lib::musig::PartialSignature;
use ark_lib::tree::signed::UnlockHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::model::{MovementStatus, OperationId, OperationKind};
use crate::wallet::engine::encoding::TransactionHex;
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

use attempt_id::AttemptId;
pub(in crate::wallet) use attempt_keys::AttemptKeyring;
pub(in crate::wallet) use endangered::endangered;
pub(in crate::wallet) use events::RoundEvents;
pub use list::{PendingRound, RoundPhase};
use plan::{Mode, Plan};

/// A waiting refresh takes its step again after this time even if no event arrives.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The state of a refresh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Round {
    /// The server may lack the inputs' signed chains.
    RegisterInputs(Plan),
    /// Waits for a round to start. The inputs are not locked.
    Wait(Plan),
    /// Submits inputs and output requests to an attempt. The inputs are locked from here on.
    Join {
        /// What the wallet asks for.
        plan: Plan,
        /// The attempt to join.
        attempt: AttemptId,
    },
    /// The server accepted the submission; waits for its proposal of a tree.
    Joined(JoinedAttempt),
    /// The tree is signed; the server may lack the signatures.
    Sign {
        /// The attempt that the tree belongs to.
        joined: JoinedAttempt,
        /// The tree that was signed.
        tree: SignedTree,
        /// Our partial signatures, one entry per new VTXO.
        signatures: Vec<BranchSignatures>,
    },
    /// The signatures were submitted; waits for the end of the attempt.
    Signed {
        /// The attempt that the tree belongs to.
        joined: JoinedAttempt,
        /// The tree that was signed.
        tree: SignedTree,
    },
    /// Submits a participation that the server carries out without the wallet.
    Delegate(Plan),
    /// The server accepted the participation; waits for its round. The inputs are not locked.
    Delegated {
        /// What the wallet asks for.
        plan: Plan,
        /// Identifies the participation at the server.
        unlock_hash: UnlockHash,
    },
    /// The round was issued; its transaction may not be broadcast yet.
    Issued(Exchange),
    /// Waits for confirmations of the round's transaction; then the new leaves are signed.
    Confirm(Exchange),
    /// The forfeits may have been sent; the preimage has not arrived.
    Forfeit(Exchange),
    /// The new VTXOs are spendable; the server may lack their signed chains.
    RegisterOutputs(Exchange),
}

/// An attempt that the server let the wallet join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct JoinedAttempt {
    plan: Plan,
    attempt: AttemptId,
    /// Identifies the participation at the server.
    unlock_hash: UnlockHash,
}

/// A tree of which the wallet signed its own branches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::wallet) struct SignedTree {
    funding_txid: Txid,
    /// The new VTXOs, in the order of the plan's outputs.
    vtxos: Vec<VtxoId>,
}

/// Our partial signatures of one branch of the tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct BranchSignatures {
    /// The cosigning key of the branch.
    pubkey: PublicKey,
    /// From leaf to root.
    #[serde(with = "ark_lib::encode::serde::vec")]
    signatures: Vec<PartialSignature>,
}

/// What an issued round exchanges: the plan's inputs, to be forfeited, for new VTXOs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Exchange {
    plan: Plan,
    /// Locks the new VTXOs until the inputs are forfeited.
    unlock_hash: UnlockHash,
    /// The round's transaction.
    #[serde(with = "TransactionHex")]
    funding_tx: Transaction,
    /// The new VTXOs, in the order of the plan's outputs. Their bodies are in the store.
    outputs: Vec<VtxoId>,
}

impl Flow for Round {
    const KIND: OperationKind = OperationKind::Round;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Round>> {
        if let Some(step) = endangered::after_exit(wallet, id, &self).await? {
            return Ok(step);
        }
        match self {
            Round::RegisterInputs(plan) => register::inputs(wallet, id, plan, tries).await,
            Round::Wait(plan) => join::wait(wallet, id, plan).await,
            Round::Join { plan, attempt } => join::join(wallet, id, plan, attempt, tries).await,
            Round::Joined(joined) => sign::sign_tree(wallet, id, joined).await,
            Round::Sign {
                joined,
                tree,
                signatures,
            } => sign::submit(wallet, joined, tree, signatures).await,
            Round::Signed { joined, tree } => resolve::await_result(wallet, id, joined, tree).await,
            Round::Delegate(plan) => delegate::submit(wallet, id, plan, tries).await,
            Round::Delegated { plan, unlock_hash } => {
                delegate::follow(wallet, id, plan, unlock_hash).await
            }
            Round::Issued(exchange) => confirm::publish(wallet, id, exchange).await,
            Round::Confirm(exchange) => confirm::confirm(wallet, id, exchange).await,
            Round::Forfeit(exchange) => forfeit::forfeit(wallet, id, exchange, tries).await,
            Round::RegisterOutputs(exchange) => register::outputs(wallet, exchange).await,
        }
    }

    /// A caller gets its answer when the refresh waits for a round. The automatic refresh waits until the server accepted or
    /// refused the inputs.
    fn answers_caller(&self) -> bool {
        match self {
            Round::RegisterInputs(_) | Round::Delegate(_) => false,
            Round::Wait(plan) | Round::Join { plan, .. } => plan.mode != Mode::Automatic,
            _ => true,
        }
    }
}

impl Round {
    fn plan(&self) -> &Plan {
        match self {
            Round::RegisterInputs(plan)
            | Round::Wait(plan)
            | Round::Join { plan, .. }
            | Round::Delegate(plan)
            | Round::Delegated { plan, .. } => plan,
            Round::Joined(joined) | Round::Sign { joined, .. } | Round::Signed { joined, .. } => {
                &joined.plan
            }
            Round::Issued(exchange)
            | Round::Confirm(exchange)
            | Round::Forfeit(exchange)
            | Round::RegisterOutputs(exchange) => &exchange.plan,
        }
    }

    /// The exchange; `None` before the round was issued.
    fn exchange(&self) -> Option<&Exchange> {
        match self {
            Round::Issued(exchange)
            | Round::Confirm(exchange)
            | Round::Forfeit(exchange)
            | Round::RegisterOutputs(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// What identifies the participation at the server; `None` before the server accepted it.
    fn unlock_hash(&self) -> Option<UnlockHash> {
        match self {
            Round::Joined(joined) | Round::Sign { joined, .. } | Round::Signed { joined, .. } => {
                Some(joined.unlock_hash)
            }
            Round::Delegated { unlock_hash, .. } => Some(*unlock_hash),
            _ => self.exchange().map(|exchange| exchange.unlock_hash),
        }
    }
}

/// Ends the refresh without effect: nothing was forfeited, and the inputs are released.
fn abort(id: &OperationId, status: MovementStatus, reason: Error) -> Step<Round> {
    end::abort(CommitPoint::RoundAborted, id, status, reason)
}
