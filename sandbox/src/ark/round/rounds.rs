//! What the server keeps in RAM about rounds.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::VtxoId;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::attempt::{Attempt, Signatures};
use super::events::Events;
use super::nonces::ForfeitNonces;

/// What the server keeps in RAM about rounds.
#[derive(Default)]
pub struct Rounds {
    pub(super) events: Events,
    /// Locked while a round runs, so that there is one at a time.
    pub(super) running: AsyncMutex<()>,
    pub(super) attempt: Mutex<Option<Attempt>>,
    /// Wakes the round in progress after a client has joined or signed.
    pub(super) progress: Notify,
    /// Wakes the schedule after a change of the configuration.
    pub(super) config_changed: Notify,
    /// The signatures of the latest attempt, to recognise repeated ones.
    pub(super) signatures: Mutex<Signatures>,
    pub(super) forfeit_nonces: ForfeitNonces,
}

impl Rounds {
    /// Whether the round in progress is about to spend this VTXO.
    pub fn holds(&self, id: VtxoId) -> bool {
        self.attempt()
            .as_ref()
            .is_some_and(|attempt| attempt.inputs().any(|held| *held == id))
    }

    pub(super) fn attempt(&self) -> MutexGuard<'_, Option<Attempt>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn signatures(&self) -> MutexGuard<'_, Signatures> {
        self.signatures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
