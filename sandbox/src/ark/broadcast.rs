//! Keeps the server's own transactions in chain or mempool (docs/protocol.md §32.11).

use super::state::Ark;

impl Ark {
    /// Broadcasts, now and at every new block, those of the server's transactions that a restart or a reorganisation has lost.
    pub(super) async fn keep_broadcast(&self) {
        let mut tips = self.chain.subscribe_tips();
        loop {
            self.broadcast_now().await;
            tokio::select! {
                () = self.alive.cancelled() => return,
                changed = tips.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Broadcasts those of the server's transactions that are neither in the chain nor in the mempool. What fails is tried again
    /// at the next block.
    pub(super) async fn broadcast_now(&self) {
        if let Err(error) = self.broadcast_missing().await {
            tracing::warn!(error = %format_args!("{error:#}"), "cannot broadcast");
        }
    }

    async fn broadcast_missing(&self) -> anyhow::Result<()> {
        for txid in self.store.txs_to_broadcast()? {
            if self.chain.tx(txid).await?.is_none()
                && let Some(tx) = self.store.signed_tx(txid)?
                && let Err(reject) = self.chain.submit(tx).await?
            {
                tracing::warn!(%txid, %reject, "transaction refused");
            }
        }
        Ok(())
    }
}
