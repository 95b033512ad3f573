//! The sync from a backend that serves blocks and has no address index. The lock on the wallet is held while a fetched block is
//! applied, never while a block is fetched.

use std::collections::HashSet;

use bitcoin::{Block, Txid};

use super::graph::may_evict;
use super::{Error, OnchainWallet};
use crate::chain::{self, Bitcoind};

/// The number of scanned blocks after which the progress is saved.
const SAVE_EVERY: u32 = 1_000;
/// The number of mempool transactions that are fetched with one request.
const FETCHED_AT_ONCE: usize = 100;

impl OnchainWallet {
    /// Scans the blocks since the last sync, then the mempool. `fetched` has the ids of the mempool transactions that earlier
    /// syncs have fetched; `started` is the time of this sync in Unix seconds.
    pub(super) async fn sync_from_blocks(
        &self,
        node: &Bitcoind,
        fetched: &mut HashSet<Txid>,
        started: u64,
    ) -> Result<(), Error> {
        let mut applied = 0;
        let mut next = self.next_block(node).await?;
        let listed = loop {
            while let Some((height, block)) = next {
                self.apply_block(height, &block)?;
                applied += 1;
                if applied % SAVE_EVERY == 0 {
                    tracing::info!(height, "scanning blocks for on-chain funds");
                    self.0.publish(&self.0.state());
                    self.save().await?;
                }
                next = self.next_block(node).await?;
            }
            let listed = node.mempool().await?;
            self.sync_mempool(node, &listed, fetched, started).await?;
            // A transaction that is no longer in the mempool may be in a block that arrived meanwhile.
            next = self.next_block(node).await?;
            if next.is_none() {
                break listed;
            }
        };
        self.evict_unlisted(&listed, started);
        *fetched = listed;
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

    /// Adds the wallet's transactions in the mempool, as seen at `started`. BDK ignores the transactions of others.
    async fn sync_mempool(
        &self,
        node: &Bitcoind,
        listed: &HashSet<Txid>,
        fetched: &mut HashSet<Txid>,
        started: u64,
    ) -> Result<(), Error> {
        let new: Vec<Txid> = listed.difference(fetched).copied().collect();
        for txids in new.chunks(FETCHED_AT_ONCE) {
            let transactions = node.mempool_transactions(txids).await?;
            let seen = transactions
                .into_iter()
                .map(|transaction| (transaction, started));
            self.0.state().wallet.apply_unconfirmed_txs(seen);
            fetched.extend(txids);
        }
        let mut state = self.0.state();
        let still_listed: Vec<_> = state
            .wallet
            .transactions()
            .filter(|found| listed.contains(&found.tx_node.txid))
            .map(|found| (found.tx_node.tx.clone(), started))
            .collect();
        state.wallet.apply_unconfirmed_txs(still_listed);
        state.collect_changes();
        Ok(())
    }

    /// Evicts the unconfirmed transactions that are not in the mempool, if [`may_evict`] allows it.
    fn evict_unlisted(&self, listed: &HashSet<Txid>, started: u64) {
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
