//! The Ark server's copy of the wallet's VTXOs: signed exit chains are registered, and ids are posted to the recovery mailbox
//! (docs/protocol.md §4.12).
//!
//! No payment depends on it: a failure is logged, and the next pass tries again.

use std::sync::Arc;

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};

use crate::ark;
use crate::model::VtxoRecord;
use crate::store::vtxo;
use crate::wallet::{Result, Wallet};

/// VTXOs per request: the recovery mailbox takes 20 ids at once.
const CHUNK: usize = 20;

impl Wallet {
    /// Registers and posts the VTXOs that the server lacks, until none is left or the server refuses one.
    ///
    /// # Errors
    /// `server_unavailable`, a refusal of the recovery mailbox, or the database's.
    pub async fn catch_up(&self) -> Result<()> {
        loop {
            let records = self
                .store
                .read(|connection| vtxo::to_catch_up(connection, CHUNK))
                .await?;
            if records.is_empty() {
                return Ok(());
            }
            let (has, lacks): (Vec<_>, Vec<_>) =
                records.iter().partition(|record| record.registered);
            let ids = |records: Vec<&Arc<VtxoRecord>>| -> Vec<VtxoId> {
                records.into_iter().map(|record| record.id).collect()
            };
            let vtxos = self.full_vtxos(ids(lacks)).await?;
            let mut registered = self.register_all_possible(&vtxos).await?;
            registered.extend(ids(has));
            self.server
                .post_recovery_ids(self.keys.recovery_mailbox(), &registered)
                .await?;
            let all_accepted = registered.len() == records.len();
            self.store
                .write(move |tx| {
                    vtxo::set_registered(tx, &registered, true)?;
                    vtxo::set_backed_up(tx, &registered)
                })
                .await?;
            if !all_accepted || records.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// Registers all chains with one request, or one by one if the server refuses that. Returns the ids that it accepted.
    async fn register_all_possible(&self, vtxos: &[Vtxo<Full>]) -> Result<Vec<VtxoId>> {
        match self.server.register_chains(vtxos).await {
            Ok(()) => return Ok(vtxos.iter().map(Vtxo::id).collect()),
            Err(ark::Error::Rejected { .. } | ark::Error::TooLarge(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut accepted = Vec::new();
        for vtxo in vtxos {
            match self
                .server
                .register_chains(std::slice::from_ref(vtxo))
                .await
            {
                Ok(()) => accepted.push(vtxo.id()),
                Err(error @ (ark::Error::Rejected { .. } | ark::Error::TooLarge(_))) => {
                    tracing::warn!(vtxo = %vtxo.id(), %error, "the Ark server refused the exit chain of a VTXO");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(accepted)
    }
}
