//! Following the chain block by block, for a backend that does not know our addresses. The lock around the wallet is only
//! held while a fetched block is applied, never while one is fetched (P12).

use std::collections::HashSet;

use bitcoin::{Block, Txid};

use super::sync::may_evict;
use super::{Error, OnchainWallet};
use crate::chain::{self, Bitcoind};

/// Progress is written down each time this many blocks have been looked through.
const SAVE_EVERY: u32 = 1_000;
/// How many transactions of the mempool are fetched with one request.
const FETCHED_AT_ONCE: usize = 100;

impl OnchainWallet {
    /// Looks through the blocks since the last sync and through the mempool. `looked_at` holds what earlier syncs have seen
    /// of the mempool.
    pub(super) async fn look_through(
        &self,
        node: &Bitcoind,
        looked_at: &mut HashSet<Txid>,
        started: u64,
    ) -> Result<(), Error> {
        let mut applied = 0;
        let mut next = self.next_block(node).await?;
        let listed = loop {
            while let Some((height, block)) = next {
                self.apply_block(height, &block)?;
                applied += 1;
                if applied % SAVE_EVERY == 0 {
                    tracing::info!(height, "looking through the chain for on-chain funds");
                    self.0.publish(&self.0.state());
                    self.save().await?;
                }
                next = self.next_block(node).await?;
            }
            let listed = node.mempool().await?;
            self.look_at_mempool(node, &listed, looked_at, started)
                .await?;
            // A block that came meanwhile may hold what the mempool no longer lists.
            next = self.next_block(node).await?;
            if next.is_none() {
                break listed;
            }
        };
        self.forget_unlisted(&listed, started);
        *looked_at = listed;
        Ok(())
    }

    async fn next_block(&self, node: &Bitcoind) -> Result<Option<(u32, Block)>, chain::Error> {
        let newest = self.0.state().wallet.latest_checkpoint();
        node.block_after(&newest).await
    }

    fn apply_block(&self, height: u32, block: &Block) -> Result<(), chain::Error> {
        let mut state = self.0.state();
        let applied = state.wallet.apply_block(block, height);
        applied.map_err(|error| chain::Error::Invalid(error.to_string()))?;
        state.collect_changes();
        Ok(())
    }

    /// Takes over the transactions of the mempool that concern us, as seen at `started`.
    async fn look_at_mempool(
        &self,
        node: &Bitcoind,
        listed: &HashSet<Txid>,
        looked_at: &mut HashSet<Txid>,
        started: u64,
    ) -> Result<(), Error> {
        let new: Vec<Txid> = listed.difference(looked_at).copied().collect();
        for txids in new.chunks(FETCHED_AT_ONCE) {
            let fetched = node.mempool_transactions(txids).await?;
            let seen = fetched
                .into_iter()
                .map(|transaction| (transaction, started));
            self.0.state().wallet.apply_unconfirmed_txs(seen);
            looked_at.extend(txids);
        }
        let mut state = self.0.state();
        let still_there: Vec<_> = state
            .wallet
            .transactions()
            .filter(|found| listed.contains(&found.tx_node.txid))
            .map(|found| (found.tx_node.tx.clone(), started))
            .collect();
        state.wallet.apply_unconfirmed_txs(still_there);
        state.collect_changes();
        Ok(())
    }

    /// Gives up unconfirmed transactions that the mempool does not list, as far as that is allowed.
    fn forget_unlisted(&self, listed: &HashSet<Txid>, started: u64) {
        let mut state = self.0.state();
        let gone: Vec<_> = state
            .wallet
            .transactions()
            .filter(|found| !found.chain_position.is_confirmed())
            .map(|found| found.tx_node.txid)
            .filter(|txid| !listed.contains(txid) && may_evict(&state.wallet, *txid, started))
            .map(|txid| (txid, started))
            .collect();
        state.wallet.apply_evicted_txs(gone);
        state.collect_changes();
        self.0.publish(&state);
    }
}
