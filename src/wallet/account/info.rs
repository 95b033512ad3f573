//! What there is to say about the wallet and its peers.

use std::sync::Arc;

use ark_lib::{ArkInfo, VtxoId};
use bitcoin::Network;
use bitcoin::bip32::Fingerprint;
use bitcoin_ext::BlockHeight;

use crate::model::VtxoRecord;
use crate::model::VtxoState;
use crate::store::vtxo;
use crate::wallet::{Error, Result, Wallet};

impl Wallet {
    /// The fingerprint of m/350', by which people and files name the wallet.
    pub fn fingerprint(&self) -> Fingerprint {
        self.keys.fingerprint()
    }

    /// The bitcoin network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Whether the Ark server was there, and safe, a moment ago.
    pub fn is_connected(&self) -> bool {
        self.server.is_connected()
    }

    /// The server's parameters as last heard; `None` before the first contact since the start.
    pub fn ark_info(&self) -> Option<Arc<ArkInfo>> {
        self.server.info()
    }

    /// The height of the newest block, asked of the chain.
    ///
    /// # Errors
    /// `chain_unavailable`.
    pub async fn tip(&self) -> Result<BlockHeight> {
        Ok(self.chain.tip().await?.height)
    }

    /// The height that the background loop saw last, so that a payment does not wait for the chain's answer; without the
    /// loop, the chain is asked.
    ///
    /// # Errors
    /// `chain_unavailable`.
    pub(in crate::wallet) async fn recent_tip(&self) -> Result<BlockHeight> {
        match self.chain.last_tip() {
            Some(tip) if !self.settings.manual_sync => Ok(tip.height),
            _ => self.tip().await,
        }
    }

    /// The VTXOs that are spendable or locked, expiry ascending, then amount descending: up to `limit` of those that come after
    /// `after`, which need not be among them any more.
    ///
    /// # Errors
    /// `unknown_vtxo`.
    pub async fn vtxos(
        &self,
        after: Option<VtxoId>,
        limit: Option<u32>,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let live = self.store.live_vtxos();
        Ok(match after {
            None => live.iter().filter(is_listed).take(limit).cloned().collect(),
            Some(after) => {
                let after = self.vtxo(after).await?;
                let rest = live.iter_after(&after).filter(is_listed);
                rest.take(limit).cloned().collect()
            }
        })
    }

    /// Every VTXO that there ever was, otherwise as [`vtxos`](Self::vtxos).
    ///
    /// # Errors
    /// `unknown_vtxo`.
    pub async fn all_vtxos(
        &self,
        after: Option<VtxoId>,
        limit: Option<u32>,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        let after = match after {
            Some(after) => Some(self.vtxo(after).await?),
            None => None,
        };
        let records = self
            .store
            .read(move |connection| vtxo::list(connection, after.as_deref(), limit));
        Ok(records.await?)
    }

    /// The parameters of a server that is there.
    ///
    /// # Errors
    /// `server_unavailable` when it is not.
    pub(in crate::wallet) fn connected_info(&self) -> Result<Arc<ArkInfo>> {
        let away = || {
            let message = "the Ark server cannot be reached now; nothing was done, try again when the wallet is connected";
            Error::unavailable("server_unavailable", message)
        };
        self.server
            .info()
            .filter(|_| self.server.is_connected())
            .ok_or_else(away)
    }
}

/// Whether the API lists it among the VTXOs that can be spent, or will be.
fn is_listed(record: &&Arc<VtxoRecord>) -> bool {
    record.state != VtxoState::Exited
}
