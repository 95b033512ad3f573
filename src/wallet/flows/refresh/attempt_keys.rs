//! The cosigning keys and secret nonces of the attempts under way. They exist in memory only: a restart loses them, and no
//! attempt gets a second set (H1).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::musig::{self, SecretNonce};
use ark_lib::rounds::Challenge;
use ark_lib::{SECP, SignedVtxoRequest, VtxoRequest};
use bitcoin::secp256k1::{Keypair, rand};

use super::attempt_id::AttemptId;
use crate::model::OperationId;

/// The keys of each refresh that is in an attempt.
#[derive(Default)]
pub(in crate::wallet) struct AttemptKeyring(Mutex<HashMap<OperationId, AttemptKeys>>);

/// The keys of one refresh for one attempt.
pub(super) struct AttemptKeys {
    pub(super) attempt: AttemptId,
    pub(super) challenge: Challenge,
    /// The output requests with the public keys and nonces, as submitted to the server.
    pub(super) requests: Vec<SignedVtxoRequest>,
    /// One for each request.
    pub(super) branches: Vec<BranchKey>,
}

/// The cosigning key of one branch of the tree.
pub(super) struct BranchKey {
    pub(super) key: Keypair,
    /// From leaf to root; signing consumes them.
    pub(super) nonces: Vec<SecretNonce>,
}

impl Drop for BranchKey {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl AttemptKeys {
    /// Generates a key and `nonces` nonces for each output.
    pub(super) fn generate(
        attempt: AttemptId,
        challenge: Challenge,
        outputs: Vec<VtxoRequest>,
        nonces: usize,
    ) -> AttemptKeys {
        let (requests, branches) = outputs
            .into_iter()
            .map(|vtxo| {
                let key = Keypair::new(&SECP, &mut rand::thread_rng());
                let (secret, public) = (0..nonces).map(|_| musig::nonce_pair(&key)).unzip();
                let request = SignedVtxoRequest {
                    vtxo,
                    cosign_pubkey: key.public_key(),
                    nonces: public,
                };
                let branch = BranchKey {
                    key,
                    nonces: secret,
                };
                (request, branch)
            })
            .unzip();
        AttemptKeys {
            attempt,
            challenge,
            requests,
            branches,
        }
    }

    /// How many nonces each branch has, and so how many levels of a tree can be signed.
    pub(super) fn nonces_per_branch(&self) -> usize {
        let counts = self.branches.iter().map(|branch| branch.nonces.len());
        counts.min().unwrap_or(0)
    }
}

impl AttemptKeyring {
    fn lock(&self) -> MutexGuard<'_, HashMap<OperationId, AttemptKeys>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores new keys, which must not have been submitted yet, and drops those of an earlier attempt.
    pub(super) fn insert(&self, id: &OperationId, keys: AttemptKeys) {
        self.lock().insert(id.clone(), keys);
    }

    /// Challenge and requests for this attempt; `None` if its keys are lost.
    pub(super) fn requests(
        &self,
        id: &OperationId,
        attempt: AttemptId,
    ) -> Option<(Challenge, Vec<SignedVtxoRequest>)> {
        let keyring = self.lock();
        let keys = keyring.get(id).filter(|keys| keys.attempt == attempt)?;
        Some((keys.challenge, keys.requests.clone()))
    }

    /// Removes the keys for this attempt in order to sign; `None` if they are lost or were taken before.
    pub(super) fn take(&self, id: &OperationId, attempt: AttemptId) -> Option<AttemptKeys> {
        self.lock()
            .remove(id)
            .filter(|keys| keys.attempt == attempt)
    }

    /// Drops the keys of a refresh.
    pub(super) fn remove(&self, id: &OperationId) {
        self.lock().remove(id);
    }
}
