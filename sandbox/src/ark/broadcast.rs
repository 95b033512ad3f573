//! Rebroadcasts the server's own transactions until they are confirmed (docs/protocol.md §32.11).

use super::state::Ark;

impl Ark {
    /// Broadcasts, now and at every new block, those of the server's transactions that a restart or a reorganisation removed.
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

    /// Broadcasts those of the server's transactions that are neither in the chain nor in the mempool; first signs those that a
    /// crash has left unsigned. A failed broadcast is repeated at the next block.
    pub(super) async fn broadcast_now(&self) {
        if let Err(error) = self.broadcast_missing().await {
            tracing::warn!(error = %format_args!("{error:#}"), "cannot broadcast");
        }
    }

    async fn broadcast_missing(&self) -> anyhow::Result<()> {
        for txid in self.store.txs_to_broadcast()? {
            if self.chain.tx(txid).await?.is_none()
                && let Some(mut tx) = self.store.signed_tx(txid)?
            {
                if tx.input.iter().any(|input| input.witness.is_empty()) {
                    tx = self.sign_funding(tx).await?;
                }
                if let Err(reject) = self.chain.submit(tx).await? {
                    tracing::warn!(%txid, %reject, "transaction refused");
                }
            }
        }
        Ok(())
    }
}
