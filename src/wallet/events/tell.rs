//! Events about what the wallet depends on: the connections, and the expiry of VTXOs.

use std::sync::Arc;

use ark_lib::vtxo::VtxoPolicyKind;
use bitcoin_ext::BlockHeight;

use crate::model::{EventKind, VtxoRecord, VtxoState};
use crate::store::{self, event, vtxo};
use crate::wallet::coins::due::SOFT_WINDOW;
use crate::wallet::{Result, Wallet};

impl Wallet {
    /// Tells that the Ark server is connected, or not. The caller tells only of changes.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn tell_server(&self, is_connected: bool) -> Result<()> {
        self.tell(match is_connected {
            true => EventKind::ServerConnected,
            false => EventKind::ServerDisconnected,
        })
        .await
    }

    /// Tells that the chain backend answers, or not. The caller tells only of changes.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn tell_chain(&self, answers: bool) -> Result<()> {
        self.tell(match answers {
            true => EventKind::ChainConnected,
            false => EventKind::ChainLost,
        })
        .await
    }

    async fn tell(&self, kind: EventKind) -> Result<()> {
        let told = self.store.write(move |tx| {
            event::tell(tx, kind);
            Ok::<_, store::Error>(())
        });
        Ok(told.await?)
    }

    /// Tells once of each VTXO that expires within the blocks in which a refresh takes it along, or is urgent.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn tell_of_expiring_vtxos(&self) -> Result<()> {
        let Some(tip) = self.chain.last_tip() else {
            return Ok(());
        };
        let window = u32::from(self.settings.refresh_threshold.to_u16())
            .saturating_add(SOFT_WINDOW.to_u32());
        let limit = BlockHeight::new(tip.height.to_u32().saturating_add(window));
        let live = self.store.live_vtxos();
        // Listed by their expiry.
        let soon = live.iter().take_while(|vtxo| vtxo.expiry_height < limit);
        let soon: Vec<Arc<VtxoRecord>> = soon.filter(|vtxo| is_own(vtxo)).cloned().collect();
        if soon.is_empty() {
            return Ok(());
        }
        let untold = self.store.read(move |connection| {
            let mut untold = Vec::new();
            for record in soon {
                if !vtxo::is_expiry_told(connection, record.id)? {
                    untold.push(record);
                }
            }
            Ok::<_, store::Error>(untold)
        });
        let untold = untold.await?;
        if untold.is_empty() {
            return Ok(());
        }
        let told = self.store.write(move |tx| {
            let mut each = untold.iter();
            each.try_for_each(|record| vtxo::tell_expiry(tx, record))
        });
        Ok(told.await?)
    }
}

/// Whether the wallet can refresh it, now or when an operation lets go of it.
fn is_own(vtxo: &VtxoRecord) -> bool {
    vtxo.policy == VtxoPolicyKind::Pubkey
        && matches!(vtxo.state, VtxoState::Spendable | VtxoState::Locked(_))
}
