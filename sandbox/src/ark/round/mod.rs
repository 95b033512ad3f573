//! Rounds: clients give up VTXOs for new ones in a fresh tree that one transaction funds (spec §1.4, §2.4, §2.5).
//!
//! What a round needs until its transaction is complete is in RAM and gone after a restart; nobody has given up anything by
//! then. From that moment on, everything is in the store.

mod check;
mod claim;
mod config;
mod delegated;
mod events;
mod run;
mod schedule;
mod submit;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::musig::{AggregatedNonce, PartialSignature};
use ark_lib::rounds::{Challenge, RoundSeq};
use ark_lib::tree::signed::{UnlockHash, UnlockPreimage, UnsignedVtxoTree, VtxoLeafSpec};
use ark_lib::{SignedVtxoRequest, VtxoId};
use bitcoin::secp256k1::PublicKey;
use server_rpc::protos;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::store::Participation;
use claim::ForfeitNonces;
pub use config::{RoundConfig, RoundConfigChange};
use events::Events;
pub use run::RoundOutcome;
pub use tree::TreeFault;

/// What the server remembers of rounds besides what it stores.
#[derive(Default)]
pub struct Rounds {
    events: Events,
    /// Held by whoever runs a round, so that there is one at a time.
    running: AsyncMutex<()>,
    attempt: Mutex<Option<Attempt>>,
    /// Tells the round in progress that a client did something.
    progress: Notify,
    /// Tells the schedule that it may have changed.
    config_changed: Notify,
    /// The signatures taken in the latest attempt, to recognise what is sent twice.
    signatures: Mutex<Signatures>,
    forfeit_nonces: ForfeitNonces,
}

/// Partial signatures for a branch of the tree, by cosign key.
type Signatures = BTreeMap<PublicKey, Vec<PartialSignature>>;

/// One attempt at a round.
struct Attempt {
    round_seq: RoundSeq,
    attempt_seq: usize,
    challenge: Challenge,
    stage: Stage,
    interactive: Vec<Participant>,
    delegated: Vec<Participation>,
    /// Inputs whose owner failed to sign an earlier attempt.
    banned: BTreeSet<VtxoId>,
}

/// What an attempt waits for.
enum Stage {
    /// Clients that join.
    Joining,
    /// The server.
    Building,
    /// The signatures of the clients.
    Signing(Box<Proposal>),
}

/// A tree that the clients are asked to sign.
struct Proposal {
    tree: UnsignedVtxoTree,
    agg_nonces: Vec<AggregatedNonce>,
}

/// A client that takes part with its own nonces.
struct Participant {
    /// As it came, to recognise it when it comes again.
    request: protos::SubmitPaymentRequest,
    unlock_preimage: UnlockPreimage,
    inputs: Vec<VtxoId>,
    outputs: Vec<SignedVtxoRequest>,
}

impl Participant {
    fn unlock_hash(&self) -> UnlockHash {
        unlock_hash(&self.unlock_preimage)
    }

    /// Whether this is the same request; signatures are different every time.
    fn is_request(&self, request: &protos::SubmitPaymentRequest) -> bool {
        let ids = |request: &protos::SubmitPaymentRequest| -> Vec<Vec<u8>> {
            let inputs = request.input_vtxos.iter();
            inputs.map(|input| input.vtxo_id.clone()).collect()
        };
        self.request.vtxo_requests == request.vtxo_requests && ids(&self.request) == ids(request)
    }

    fn leaf(&self, output: &SignedVtxoRequest) -> VtxoLeafSpec {
        VtxoLeafSpec {
            vtxo: output.vtxo.clone(),
            cosign_pubkey: Some(output.cosign_pubkey),
            unlock_hash: self.unlock_hash(),
        }
    }

    fn has_signed(&self, signatures: &Signatures) -> bool {
        self.outputs
            .iter()
            .all(|output| signatures.contains_key(&output.cosign_pubkey))
    }

    fn participation(&self) -> Participation {
        Participation {
            unlock_preimage: self.unlock_preimage,
            inputs: self.inputs.clone(),
            outputs: self
                .outputs
                .iter()
                .map(|output| output.vtxo.clone())
                .collect(),
            mailbox: None,
            scheduled_height: None,
            round: None,
            released: false,
        }
    }
}

impl Attempt {
    fn inputs(&self) -> impl Iterator<Item = &VtxoId> {
        let interactive = self.interactive.iter().flat_map(|one| &one.inputs);
        interactive.chain(self.delegated.iter().flat_map(|one| &one.inputs))
    }

    fn outputs(&self) -> impl Iterator<Item = &SignedVtxoRequest> {
        self.interactive.iter().flat_map(|one| &one.outputs)
    }

    fn leaves(&self) -> usize {
        let delegated: usize = self.delegated.iter().map(|one| one.outputs.len()).sum();
        self.outputs().count() + delegated
    }
}

impl Rounds {
    /// Whether the round in progress is about to spend this VTXO.
    pub fn holds(&self, id: VtxoId) -> bool {
        self.attempt()
            .as_ref()
            .is_some_and(|attempt| attempt.inputs().any(|held| *held == id))
    }

    fn attempt(&self) -> MutexGuard<'_, Option<Attempt>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signatures(&self) -> MutexGuard<'_, Signatures> {
        self.signatures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unlock_hash(preimage: &UnlockPreimage) -> UnlockHash {
    use bitcoin::hashes::Hash;
    UnlockHash::hash(preimage)
}
