//! The keys and nonces with which we sign a tree. They live here and nowhere else: what a restart loses is lost, and no
//! attempt gets a second set (hazard H1).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::musig::{self, SecretNonce};
use ark_lib::rounds::Challenge;
use ark_lib::{SECP, SignedVtxoRequest, VtxoRequest};
use bitcoin::secp256k1::{Keypair, rand};

use super::AttemptId;
use crate::model::OperationId;

/// What the running rounds need to sign, by operation.
#[derive(Default)]
pub(in crate::wallet) struct Secrets(Mutex<HashMap<OperationId, AttemptSecrets>>);

/// What is needed for one attempt.
pub(super) struct AttemptSecrets {
    pub(super) attempt: AttemptId,
    pub(super) challenge: Challenge,
    /// What the server is told.
    pub(super) requests: Vec<SignedVtxoRequest>,
    /// For each request.
    pub(super) branches: Vec<BranchSecrets>,
}

/// What is needed for one branch of the tree.
pub(super) struct BranchSecrets {
    pub(super) key: Keypair,
    /// From leaf to root; used up by the signing.
    pub(super) nonces: Vec<SecretNonce>,
}

impl Drop for BranchSecrets {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl AttemptSecrets {
    /// Fresh keys and nonces.
    pub(super) fn generate(
        attempt: AttemptId,
        challenge: Challenge,
        outputs: Vec<VtxoRequest>,
        nonces: usize,
    ) -> AttemptSecrets {
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
                (
                    request,
                    BranchSecrets {
                        key,
                        nonces: secret,
                    },
                )
            })
            .unzip();
        AttemptSecrets {
            attempt,
            challenge,
            requests,
            branches,
        }
    }
}

impl Secrets {
    fn lock(&self) -> MutexGuard<'_, HashMap<OperationId, AttemptSecrets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps secrets that nobody has seen anything of yet, in place of those of an earlier attempt.
    pub(super) fn keep(&self, id: &OperationId, secrets: AttemptSecrets) {
        self.lock().insert(id.clone(), secrets);
    }

    /// What the server is told in this attempt; `None` when the secrets are gone.
    pub(super) fn requests(
        &self,
        id: &OperationId,
        attempt: AttemptId,
    ) -> Option<(Challenge, Vec<SignedVtxoRequest>)> {
        let kept = self.lock();
        let secrets = kept.get(id).filter(|kept| kept.attempt == attempt)?;
        Some((secrets.challenge, secrets.requests.clone()))
    }

    /// Takes the secrets out, for the one use that they have.
    pub(super) fn take(&self, id: &OperationId, attempt: AttemptId) -> Option<AttemptSecrets> {
        self.lock()
            .remove(id)
            .filter(|kept| kept.attempt == attempt)
    }

    /// Forgets them.
    pub(super) fn forget(&self, id: &OperationId) {
        self.lock().remove(id);
    }
}
