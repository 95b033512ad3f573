//! Keeping the server's copy whole: signed chains registered, ids in the recovery mailbox (docs/protocol.md §4.12).
//!
//! It is no part of any payment: a failure here is logged and made up for by the next pass.

use ark_lib::{Vtxo, VtxoId};

use crate::ark;
use crate::store::{vtxo, vtxo_body};
use crate::wallet::{Result, Wallet};

/// VTXOs per pass; the recovery mailbox takes 20 ids at a time.
const CHUNK: usize = 20;

impl Wallet {
    /// Hands the server what it lacks, until there is nothing left or it refuses.
    pub async fn catch_up(&self) -> Result<()> {
        loop {
            let records = self
                .store
                .read(|connection| vtxo::to_catch_up(connection, CHUNK))
                .await?;
            let ids: Vec<VtxoId> = records.iter().map(|record| record.id).collect();
            if ids.is_empty() {
                return Ok(());
            }
            let wanted = ids.clone();
            let vtxos = self
                .store
                .read(move |connection| {
                    wanted
                        .iter()
                        .map(|id| vtxo_body::get(connection, *id))
                        .collect::<Result<Vec<_>, _>>()
                })
                .await?;
            let registered = self.register_one_by_one(&vtxos).await?;
            self.server
                .post_recovery_ids(self.keys.recovery_mailbox(), &registered)
                .await?;
            let complete = registered.len() == ids.len();
            self.store
                .write(move |tx| {
                    vtxo::set_registered(tx, &registered, true)?;
                    vtxo::set_backed_up(tx, &registered)
                })
                .await?;
            if !complete || ids.len() < CHUNK {
                return Ok(());
            }
        }
    }

    /// Registers all at once, or, when the server refuses that, each by itself; answers those that it took.
    async fn register_one_by_one(
        &self,
        vtxos: &[Vtxo<ark_lib::vtxo::Full>],
    ) -> Result<Vec<VtxoId>> {
        match self.server.register_chains(vtxos).await {
            Ok(()) => return Ok(vtxos.iter().map(Vtxo::id).collect()),
            Err(ark::Error::Rejected { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut taken = Vec::new();
        for vtxo in vtxos {
            match self
                .server
                .register_chains(std::slice::from_ref(vtxo))
                .await
            {
                Ok(()) => taken.push(vtxo.id()),
                Err(error @ ark::Error::Rejected { .. }) => {
                    tracing::warn!(vtxo = %vtxo.id(), %error, "the server does not take this VTXO's chain");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }
}
