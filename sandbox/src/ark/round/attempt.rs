//! One attempt at a round: who takes part, and the tree that they sign.

use std::collections::{BTreeMap, BTreeSet};

use ark_lib::musig::{AggregatedNonce, PartialSignature};
use ark_lib::rounds::{Challenge, RoundSeq};
use ark_lib::tree::signed::{UnlockHash, UnlockPreimage, UnsignedVtxoTree, VtxoLeafSpec};
use ark_lib::{SignedVtxoRequest, VtxoId};
use bitcoin::secp256k1::PublicKey;

use super::super::store::Participation;

/// Partial signatures for a branch of the tree, by cosign key.
pub(super) type Signatures = BTreeMap<PublicKey, Vec<PartialSignature>>;

/// One attempt at a round.
pub(super) struct Attempt {
    pub(super) round_seq: RoundSeq,
    pub(super) attempt_seq: usize,
    pub(super) challenge: Challenge,
    pub(super) stage: Stage,
    pub(super) interactive: Vec<Participant>,
    pub(super) delegated: Vec<Participation>,
    /// Inputs whose owner failed to sign an earlier attempt.
    pub(super) banned: BTreeSet<VtxoId>,
}

/// The stage of an attempt.
pub(super) enum Stage {
    /// Clients can join.
    Joining,
    /// The server builds the tree.
    Building,
    /// Clients can sign.
    Signing(Box<Proposal>),
}

/// A tree that the clients are asked to sign.
pub(super) struct Proposal {
    pub(super) tree: UnsignedVtxoTree,
    pub(super) agg_nonces: Vec<AggregatedNonce>,
}

/// A client that takes part with its own nonces.
pub(super) struct Participant {
    pub(super) unlock_preimage: UnlockPreimage,
    pub(super) inputs: Vec<VtxoId>,
    pub(super) outputs: Vec<SignedVtxoRequest>,
}

impl Participant {
    pub(super) fn unlock_hash(&self) -> UnlockHash {
        unlock_hash(&self.unlock_preimage)
    }

    pub(super) fn leaf(&self, output: &SignedVtxoRequest) -> VtxoLeafSpec {
        VtxoLeafSpec {
            vtxo: output.vtxo.clone(),
            cosign_pubkey: Some(output.cosign_pubkey),
            unlock_hash: self.unlock_hash(),
        }
    }

    pub(super) fn has_signed(&self, signatures: &Signatures) -> bool {
        self.outputs
            .iter()
            .all(|output| signatures.contains_key(&output.cosign_pubkey))
    }

    pub(super) fn participation(&self) -> Participation {
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
    pub(super) fn inputs(&self) -> impl Iterator<Item = &VtxoId> {
        let interactive = self.interactive.iter().flat_map(|one| &one.inputs);
        interactive.chain(self.delegated.iter().flat_map(|one| &one.inputs))
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = &SignedVtxoRequest> {
        self.interactive.iter().flat_map(|one| &one.outputs)
    }

    pub(super) fn leaves(&self) -> usize {
        let delegated: usize = self.delegated.iter().map(|one| one.outputs.len()).sum();
        self.outputs().count() + delegated
    }
}

/// The hash that unlocks the outputs of a participation.
pub(super) fn unlock_hash(preimage: &UnlockPreimage) -> UnlockHash {
    use bitcoin::hashes::Hash;
    UnlockHash::hash(preimage)
}
