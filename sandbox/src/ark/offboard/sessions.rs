//! What the server keeps in RAM about offboards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::VtxoId;
use ark_lib::musig::{PublicNonce, SecretNonce};
use bitcoin::{Transaction, Txid};
use server_rpc::protos;
use tokio::time::Instant;

use super::rates::AnnouncedRates;
use crate::coin_wallet::CoinLock;

/// The offboards in progress and the fee rates that clients may use.
#[derive(Default)]
pub struct Offboards {
    sessions: Mutex<BTreeMap<Txid, Session>>,
    pub(super) announced_rates: AnnouncedRates,
}

/// A prepared offboard.
pub(super) struct Session {
    /// As it was received, to recognise a repeated request.
    pub(super) request: protos::PrepareOffboardRequest,
    pub(super) inputs: Vec<VtxoId>,
    /// Unsigned.
    pub(super) tx: Transaction,
    pub(super) lock: CoinLock,
    pub(super) public_nonces: Vec<PublicNonce>,
    /// `None` once they are used.
    pub(super) secret_nonces: Option<Vec<SecretNonce>>,
    pub(super) deadline: Instant,
}

impl Session {
    pub(super) fn answer(&self) -> protos::PrepareOffboardResponse {
        protos::PrepareOffboardResponse {
            offboard_tx: bitcoin::consensus::serialize(&self.tx),
            forfeit_cosign_nonces: self
                .public_nonces
                .iter()
                .map(|nonce| nonce.serialize().to_vec())
                .collect(),
        }
    }
}

impl Offboards {
    /// Whether an offboard in progress is about to spend this VTXO.
    pub fn holds(&self, id: VtxoId) -> bool {
        let now = Instant::now();
        self.sessions()
            .values()
            .any(|session| session.deadline > now && session.inputs.contains(&id))
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, BTreeMap<Txid, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
