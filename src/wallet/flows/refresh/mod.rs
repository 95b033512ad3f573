//! Rounds: VTXOs are swapped for new ones in a fresh tree that one on-chain transaction funds (docs/protocol.md §4.5).
//!
//! ```text
//!            ┌────────────────── the attempt came to nothing ──────────────────┐
//!            ▼                                                                 │
//!  start ─▶ Wait ─▶ Join ─▶ Joined ─▶ Sign ─▶ Signed ──────────────────────────┤
//!    │       │ inputs gone    │                  │                             │
//!    ▼       ▼                └──── ask what became of the participation ──────┘
//!  Prepare  failed                               │ it has happened
//!    │                                           ▼
//!    └▶ Delegate ─▶ Delegated ──────────────▶ Issued ─▶ Confirm ─▶ Forfeit ─▶ Register ─▶ done
//!          ▲           │                         └─────────┴─▶ failed, inputs free
//!          └───────────┘ some inputs went elsewhere
//! ```
//!
//! | state | the remote call | what its commit holds |
//! |---|---|---|
//! | Prepare | upload the inputs' signed chains | that the server has them |
//! | Wait | none; a round begins | inputs locked, the attempt that is joined |
//! | Join | join the attempt | the hash that names the participation and locks its outputs |
//! | Joined | none; the tree is proposed and checked | our signatures of our branches, the ids that they lead to |
//! | Sign | hand over the signatures | that they were handed over |
//! | Signed | ask what became of the participation, once the attempt is over | the round's transaction, the locked VTXOs |
//! | Delegate | leave the participation with the server | the hash |
//! | Delegated | ask what became of it | the round's transaction, the locked VTXOs |
//! | Issued | look for the transaction, or broadcast it | inputs locked, from whoever had them |
//! | Confirm | once it is deep enough: register the inputs, cosign the leaves | the signed leaves; forfeits may be out from now on |
//! | Forfeit | give up the inputs for the preimage | inputs spent, new VTXOs spendable, the movement's end |
//! | Register | upload the new signed chains | that the server has them |
//!
//! Until Forfeit nothing is given up: whatever the server does or forgets, the inputs stay ours, and releasing them is safe.
//! From Forfeit on the inputs are never released; the same exchange is asked for again until the preimage comes (W10, W11).
//! Secret nonces live in memory only. An attempt whose nonces are gone is given up, never signed with others (H1). A missed
//! event decides nothing: what became of a participation is asked of the server (W13), and its answer is checked like any
//! other (§4.16).

mod adopt;
mod attempt;
mod delegate;
mod feed;
mod issued;
mod maintenance;
mod outcome;
mod pending;
mod plan;
mod proposal;
mod secrets;
mod start;
mod swap;
use std::time::Duration;

use ark_lib::VtxoId;
use ark_lib::rounds::RoundEvent;
use ark_lib::tree::signed::UnlockHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{SignedAmount, Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::model::MovementStatus;
use crate::model::{OperationId, OperationKind};
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Flow, Next, Step, Tries};
use crate::wallet::flows::send::EncodedVtxo;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

pub(in crate::wallet) use feed::RoundFeed;
pub use pending::{PendingRound, RoundOutput, RoundPhase};
use plan::{Mode, Plan};
pub(in crate::wallet) use secrets::Secrets;

/// How long a round that waits for something looks again without having heard of anything.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// How far a round is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Round {
    /// The server may lack the inputs' signed chains.
    Prepare(Plan),
    /// Nothing to do before a round begins.
    Wait(Plan),
    /// The server is asked to take us into its attempt.
    Join {
        /// What we want.
        plan: Plan,
        /// The attempt that we join.
        attempt: AttemptId,
    },
    /// Nothing to do before the server proposes a tree.
    Joined(Participation),
    /// The server has to get our signatures.
    Sign {
        /// As the server knows us.
        participation: Participation,
        /// What our signatures lead to.
        tree: SignedTree,
        /// For each output, in hex.
        signatures: Vec<BranchSignatures>,
    },
    /// Nothing to do before the attempt is over.
    Signed {
        /// As the server knows us.
        participation: Participation,
        /// What our signatures lead to.
        tree: SignedTree,
    },
    /// The participation has to be left with the server.
    Delegate(Plan),
    /// The server has it; the round has to happen.
    Delegated {
        /// What we want.
        plan: Plan,
        /// The name of the participation.
        unlock_hash: UnlockHash,
    },
    /// The round has happened; its transaction has to get out.
    Issued(Swap),
    /// The transaction has to get deep enough; then the new VTXOs have to be signed.
    Confirm(Swap),
    /// Our forfeits may be out; the preimage has to come.
    Forfeit(Swap),
    /// The new VTXOs are ours; the server may lack their chains.
    Register(Released),
}

/// One attempt at a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::wallet) struct AttemptId {
    round: u64,
    attempt: usize,
}

impl AttemptId {
    /// The attempt that an event belongs to; a failed round is in none.
    fn of(event: &RoundEvent) -> Option<AttemptId> {
        (!matches!(event, RoundEvent::Failed(_))).then(|| AttemptId {
            round: event.round_seq().inner(),
            attempt: event.attempt_seq(),
        })
    }
}

/// An interactive participation that the server knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Participation {
    plan: Plan,
    attempt: AttemptId,
    unlock_hash: UnlockHash,
}

/// What our signatures of a tree lead to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::wallet) struct SignedTree {
    funding_txid: Txid,
    /// The new VTXOs, in the order of the plan.
    vtxos: Vec<VtxoId>,
}

/// Our signatures of one branch of the tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct BranchSignatures {
    pubkey: PublicKey,
    /// From leaf to root, hex.
    signatures: Vec<String>,
}

/// A round that has happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Swap {
    unlock_hash: UnlockHash,
    inputs: Vec<VtxoId>,
    funding_tx: Transaction,
    outputs: Vec<EncodedVtxo>,
    /// When it was to happen, if it was scheduled.
    scheduled: Option<u32>,
}

/// New VTXOs that are stored and spendable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Released {
    unlock_hash: UnlockHash,
    inputs: Vec<VtxoId>,
    funding_tx: Transaction,
    outputs: Vec<VtxoId>,
}

impl Flow for Round {
    const KIND: OperationKind = OperationKind::Round;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Round>> {
        match self {
            Round::Prepare(plan) => attempt::prepare(wallet, id, plan, tries).await,
            Round::Wait(plan) => attempt::wait(wallet, id, plan).await,
            Round::Join { plan, attempt } => attempt::join(wallet, id, plan, attempt).await,
            Round::Joined(participation) => attempt::joined(wallet, id, participation).await,
            Round::Sign {
                participation,
                tree,
                signatures,
            } => attempt::sign(wallet, participation, tree, signatures).await,
            Round::Signed {
                participation,
                tree,
            } => attempt::signed(wallet, id, participation, tree).await,
            Round::Delegate(plan) => delegate::submit(wallet, id, plan).await,
            Round::Delegated { plan, unlock_hash } => {
                delegate::follow(wallet, id, plan, unlock_hash).await
            }
            Round::Issued(swap) => swap::publish(wallet, id, swap).await,
            Round::Confirm(swap) => swap::confirm(wallet, id, swap).await,
            Round::Forfeit(swap) => swap::forfeit(wallet, id, swap, tries).await,
            Round::Register(released) => swap::register(wallet, released).await,
        }
    }

    /// A refresh that somebody asked for is theirs to follow from the moment it waits for its round; maintenance wants to
    /// know whether the server took it.
    fn answers_caller(&self) -> bool {
        match self {
            Round::Prepare(_) | Round::Delegate(_) => false,
            Round::Wait(plan) | Round::Join { plan, .. } => plan.mode != Mode::Maintenance,
            _ => true,
        }
    }
}

impl Round {
    /// The plan, while there is one.
    fn plan(&self) -> Option<&Plan> {
        match self {
            Round::Prepare(plan)
            | Round::Wait(plan)
            | Round::Join { plan, .. }
            | Round::Delegate(plan)
            | Round::Delegated { plan, .. }
            | Round::Joined(Participation { plan, .. })
            | Round::Sign {
                participation: Participation { plan, .. },
                ..
            }
            | Round::Signed {
                participation: Participation { plan, .. },
                ..
            } => Some(plan),
            Round::Issued(_) | Round::Confirm(_) | Round::Forfeit(_) | Round::Register(_) => None,
        }
    }

    /// The VTXOs that it gives up.
    fn inputs(&self) -> &[VtxoId] {
        match self {
            Round::Issued(swap) | Round::Confirm(swap) | Round::Forfeit(swap) => &swap.inputs,
            Round::Register(released) => &released.inputs,
            planned => planned.plan().map_or(&[], |plan| &plan.inputs),
        }
    }

    /// The name of the participation, once the server has given it one.
    fn unlock_hash(&self) -> Option<UnlockHash> {
        match self {
            Round::Prepare(_) | Round::Wait(_) | Round::Join { .. } | Round::Delegate(_) => None,
            Round::Joined(participation)
            | Round::Sign { participation, .. }
            | Round::Signed { participation, .. } => Some(participation.unlock_hash),
            Round::Delegated { unlock_hash, .. } => Some(*unlock_hash),
            Round::Issued(swap) | Round::Confirm(swap) | Round::Forfeit(swap) => {
                Some(swap.unlock_hash)
            }
            Round::Register(released) => Some(released.unlock_hash),
        }
    }
}

/// It did not happen, and nothing was given up: the inputs are free again.
fn abort(id: &OperationId, status: MovementStatus, reason: Error) -> Step<Round> {
    let id = id.clone();
    Step::commit(CommitPoint::RoundAborted, Next::Failed(reason), move |tx| {
        vtxo::release(tx, &id)?;
        if let Some(movement) = movement::id_of_operation(tx, &id)? {
            let nothing = Some(SignedAmount::ZERO);
            movement::finish(tx, movement, status, nothing, clock::now_millis())?;
        }
        Ok(())
    })
}
