//! The nonces with which the server cosigns forfeits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::VtxoId;
use ark_lib::musig::{PublicNonce, SecretNonce};
use ark_lib::tree::signed::UnlockHash;
use tokio::time::Instant;

/// The server's nonces for forfeits in progress, by input and by the unlock hash that the forfeit is bound to.
#[derive(Default)]
pub struct ForfeitNonces(Mutex<BTreeMap<(VtxoId, UnlockHash), ForfeitNonce>>);

pub(super) struct ForfeitNonce {
    pub(super) public: PublicNonce,
    pub(super) secret: SecretNonce,
    pub(super) drawn: Instant,
}

impl ForfeitNonces {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<(VtxoId, UnlockHash), ForfeitNonce>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
