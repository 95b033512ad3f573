//! Offboards: clients give up VTXOs for an output of a transaction of the server (spec §1.5, §2.6).
//!
//! What is prepared is in RAM and forgotten after a while; what is finished is in the store.

mod finish;
mod prepare;
mod rates;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ark_lib::VtxoId;
use ark_lib::musig::{PublicNonce, SecretNonce};
use bitcoin::{Transaction, Txid};
use serde::{Deserialize, Serialize};
use server_rpc::protos;
use tokio::time::Instant;

use super::state::Ark;
use crate::coins::CoinLock;
use rates::ToldRates;

/// How a hostile server changes what it prepares for an offboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffboardFault {
    /// The client gets one satoshi less.
    WrongAmount,
    /// Somebody else is paid.
    WrongScript,
    /// There is no output for the forfeits to hang on.
    MissingConnector,
    /// There is one nonce too few.
    MissingNonce,
}

/// What the server remembers of offboards besides what it stores.
#[derive(Default)]
pub struct Offboards {
    sessions: Mutex<BTreeMap<Txid, Session>>,
    told_rates: ToldRates,
}

/// A prepared offboard.
struct Session {
    /// As it came, to recognise it when it comes again.
    request: protos::PrepareOffboardRequest,
    inputs: Vec<VtxoId>,
    /// Unsigned.
    tx: Transaction,
    lock: CoinLock,
    public_nonces: Vec<PublicNonce>,
    /// `None` once they are used.
    secret_nonces: Option<Vec<SecretNonce>>,
    deadline: Instant,
}

impl Session {
    fn answer(&self) -> protos::PrepareOffboardResponse {
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

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Txid, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ark {
    /// Forgets the offboards that were not finished in time, so that their coins are free.
    pub(super) async fn forget_late_offboards(&self) {
        let now = Instant::now();
        let mut late = Vec::new();
        self.offboards.sessions().retain(|_, session| {
            let in_time = session.deadline > now;
            if !in_time {
                late.push(session.lock);
            }
            in_time
        });
        for lock in late {
            self.coins.release(lock).await;
        }
    }
}
