//! The Ark server's copy of the wallet's VTXOs: signed exit chains are registered, and ids are posted to the recovery mailbox
//! (docs/protocol.md §4.12).
//!
//! No payment depends on it: a failure is logged, and the next pass tries again.

use std::sync::Arc;

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use futures::{StreamExt, stream};

use crate::ark;
use crate::model::VtxoRecord;
use crate::store::vtxo;
use crate::wallet::{Result, Wallet};

/// VTXOs that are registered with one request.
const CHUNK: usize = 20;
/// Ids that are posted at the same time.
const POSTS: usize = 8;

impl Wallet {
    /// Registers and posts each VTXO that the server lacks, once. One that the server refuses does not keep the others back.
    ///
    /// # Errors
    /// `server_unavailable`, or the database's.
    pub async fn catch_up(&self) -> Result<()> {
        let (mut after, mut failure) = (None, Ok(()));
        loop {
            let missing = self
                .store
                .read(move |connection| vtxo::to_catch_up(connection, after, CHUNK));
            let missing = missing.await?;
            let Some(last) = missing.last() else {
                return failure;
            };
            after = Some(last.id);
            match self.complete_copy(&missing).await {
                Ok(()) => {}
                Err(error) if self.is_connected() => failure = Err(error),
                Err(error) => return Err(error),
            }
        }
    }

    async fn complete_copy(&self, missing: &[Arc<VtxoRecord>]) -> Result<()> {
        let (known, unknown): (Vec<_>, Vec<_>) =
            missing.iter().partition(|record| record.registered);
        let unknown = self
            .full_vtxos(unknown.iter().map(|record| record.id).collect())
            .await?;
        let registered = self.register_all_possible(&unknown).await?;
        let known = known.iter().map(|record| record.id);
        let ids = known.chain(registered.iter().copied()).collect();
        let posted = self.post_all_possible(ids).await?;
        self.store
            .write(move |tx| {
                vtxo::set_registered(tx, &registered, true)?;
                Ok(vtxo::set_backed_up(tx, &posted)?)
            })
            .await
    }

    /// Posts ids to the recovery mailbox, each with a request of its own. Returns those that the server accepted.
    ///
    /// # Errors
    /// The server accepted none.
    async fn post_all_possible(&self, ids: Vec<VtxoId>) -> Result<Vec<VtxoId>> {
        let mailbox = self.keys.recovery_mailbox();
        let posts = stream::iter(ids).map(|id| async move {
            let posted = self.server.post_recovery_id(mailbox, id).await;
            posted.map(|()| id).map_err(|error| (id, error))
        });
        let answers: Vec<_> = posts.buffered(POSTS).collect().await;
        let (mut accepted, mut refusal) = (Vec::new(), None);
        for answer in answers {
            match answer {
                Ok(id) => accepted.push(id),
                Err((id, error)) => {
                    tracing::warn!(vtxo = %id, %error, "the Ark server did not take the id of a VTXO for the recovery mailbox");
                    refusal = Some(error);
                }
            }
        }
        match refusal {
            Some(error) if accepted.is_empty() => Err(error.into()),
            _ => Ok(accepted),
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
