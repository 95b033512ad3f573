//! Lists and lookups of the wallet's VTXOs.

use std::sync::Arc;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::secp256k1::Keypair;
use rusqlite::Connection;

use crate::model::{OperationId, VtxoRecord, VtxoState};
use crate::store::{key, vtxo, vtxo_body};
use crate::wallet::{Error, Result, Wallet};

impl Wallet {
    /// The spendable and locked VTXOs, by ascending expiry, then descending amount: at most `limit`, from the one after `after`.
    /// `after` may be a VTXO that has left this list.
    ///
    /// # Errors
    /// `unknown_vtxo` if the wallet never had `after`.
    pub async fn vtxos(
        &self,
        after: Option<VtxoId>,
        limit: Option<u32>,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let live = self.store.live_vtxos();
        let is_listed = |record: &&Arc<VtxoRecord>| record.state != VtxoState::Exited;
        Ok(match after {
            None => live.iter().filter(is_listed).take(limit).cloned().collect(),
            Some(after) => {
                let after = self.vtxo(after).await?;
                let rest = live.iter_after(&after).filter(is_listed);
                rest.take(limit).cloned().collect()
            }
        })
    }

    /// All VTXOs that the wallet ever had, in the order of [`vtxos`](Self::vtxos).
    ///
    /// # Errors
    /// `unknown_vtxo` if the wallet never had `after`.
    pub async fn all_vtxos(
        &self,
        after: Option<VtxoId>,
        limit: Option<u32>,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        self.store
            .read(move |connection| {
                let after = after.map(|id| known(connection, id)).transpose()?;
                Ok(vtxo::list(connection, after.as_deref(), limit)?)
            })
            .await
    }

    /// The VTXO with this id.
    ///
    /// # Errors
    /// `unknown_vtxo`.
    pub async fn vtxo(&self, id: VtxoId) -> Result<Arc<VtxoRecord>> {
        self.store
            .read(move |connection| known(connection, id))
            .await
    }

    /// The VTXOs with these ids, in the same order.
    ///
    /// # Errors
    /// `unknown_vtxo`.
    pub(in crate::wallet) async fn records(
        &self,
        ids: Vec<VtxoId>,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        self.store
            .read(move |connection| ids.iter().map(|id| known(connection, *id)).collect())
            .await
    }

    /// The VTXO with this id and its exit chain, in the encoding of the protocol.
    ///
    /// # Errors
    /// `unknown_vtxo`.
    pub async fn encoded_vtxo(&self, id: VtxoId) -> Result<Vec<u8>> {
        self.store
            .read(move |connection| {
                known(connection, id)?;
                Ok(vtxo_body::get(connection, id)?.serialize())
            })
            .await
    }

    /// The VTXOs with these ids and their exit chains, in the same order.
    ///
    /// # Errors
    /// An internal error if one is not stored.
    pub(in crate::wallet) async fn full_vtxos(&self, ids: Vec<VtxoId>) -> Result<Vec<Vtxo<Full>>> {
        self.store
            .read(move |connection| {
                let vtxos = ids.iter().map(|id| vtxo_body::get(connection, *id));
                Ok(vtxos.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The VTXOs with these ids and the keys that spend them, in the same order.
    ///
    /// # Errors
    /// An internal error if one, or its key, is not stored.
    pub(in crate::wallet) async fn signers(
        &self,
        ids: Vec<VtxoId>,
    ) -> Result<Vec<(Vtxo<Full>, Keypair)>> {
        let keys = Arc::clone(&self.keys);
        self.store
            .read(move |connection| {
                let signer = |id: &VtxoId| {
                    let owned = vtxo_body::get(connection, *id)?;
                    let index =
                        key::index_of(connection, &owned.user_pubkey())?.ok_or_else(|| {
                            Error::internal(anyhow::anyhow!(
                                "the key of VTXO {id} is not in the key table"
                            ))
                        })?;
                    Ok((owned, keys.vtxo_key(index)?))
                };
                ids.iter().map(signer).collect()
            })
            .await
    }

    /// Whether the operation still holds all of these VTXOs. It loses them when a round that has happened spends them.
    pub(in crate::wallet) async fn holds(
        &self,
        id: &OperationId,
        vtxos: &[VtxoId],
    ) -> Result<bool> {
        let (held, vtxos) = (VtxoState::Locked(Some(id.clone())), vtxos.to_vec());
        self.store
            .read(move |connection| {
                for id in vtxos {
                    if vtxo::get(connection, id)?.is_none_or(|record| record.state != held) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await
    }
}

/// The VTXO with this id, whatever its state.
///
/// # Errors
/// `unknown_vtxo`.
pub(super) fn known(connection: &Connection, id: VtxoId) -> Result<Arc<VtxoRecord>> {
    vtxo::get(connection, id)?.ok_or_else(|| unknown(id))
}

/// The error for a VTXO that the wallet never had.
pub(in crate::wallet) fn unknown(id: VtxoId) -> Error {
    let message = format!(
        "the wallet has no VTXO {id}; GET /api/v1/wallet/vtxos?all=true lists those that it has or had"
    );
    Error::not_found("unknown_vtxo", message, id)
}
