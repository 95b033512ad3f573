//! Keeps a view in step with the node: blocks and mempool are fetched as they change, and applied at once.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use anyhow::Context;
use bitcoin::{Amount, Block, BlockHash, Transaction, TxIn, TxOut, Txid};
use serde_json::json;

use super::rpc::decode;
use super::{CALLS_PER_BATCH, Node};
use crate::chain::consensus::Coin;
use crate::chain::view::View;
use crate::chain::{Chain, Shared, standard};

/// Interval at which the view is refreshed without a request.
const INTERVAL: Duration = Duration::from_millis(100);
/// Number of times that the mempool is read again after a block arrived meanwhile.
const TRIES: usize = 10;

/// Refreshes the view until the chain is dropped.
pub(in crate::chain) async fn poll(chain: Weak<Shared>) {
    let mut is_down = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(chain) = chain.upgrade().map(Chain) else {
            return;
        };
        match chain.refresh().await {
            Ok(()) if is_down => {
                tracing::info!("the node answers again");
                is_down = false;
                // The miner may have stopped because the node did not answer.
                chain.0.changed.notify_one();
            }
            Err(error) if !is_down => {
                tracing::warn!(error = format!("{error:#}"), "lost the node");
                is_down = true;
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// The difference between view and node.
struct News {
    /// The last block that view and node have in common.
    fork: BlockHash,
    /// The node's blocks above that, oldest first.
    blocks: Vec<Block>,
    /// All of the mempool.
    mempool: HashSet<Txid>,
    /// The part of the mempool that the view lacks.
    arrived: Vec<Transaction>,
}

impl Node {
    /// Brings the view up to date; true if it changed.
    pub(in crate::chain) async fn refresh(&self) -> anyhow::Result<bool> {
        let _alone = self.following.lock().await;
        let (best, mempool) = self.state_of_node().await?;
        let (fork, blocks) = self.blocks_up_to(best).await?;
        let news = News {
            fork,
            blocks,
            arrived: self.arrived(&mempool).await?,
            mempool,
        };
        let mut view = self.view();
        let before = (view.ledger.tip(), view.mempool.changes());
        view.take(news)?;
        Ok(before != (view.ledger.tip(), view.mempool.changes()))
    }

    /// The node's last block and its mempool, read consistently.
    async fn state_of_node(&self) -> anyhow::Result<(BlockHash, HashSet<Txid>)> {
        let mut best: BlockHash = self.rpc.call("getbestblockhash", json!([])).await?;
        for _ in 0..TRIES {
            let mempool = self.rpc.call("getrawmempool", json!([])).await?;
            let after = self.rpc.call("getbestblockhash", json!([])).await?;
            if after == best {
                return Ok((best, mempool));
            }
            best = after;
        }
        anyhow::bail!("the node mines faster than its mempool can be read")
    }

    /// The last block below `best` that the view has, and the blocks above it, oldest first.
    async fn blocks_up_to(&self, best: BlockHash) -> anyhow::Result<(BlockHash, Vec<Block>)> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut next = best;
        while self.view().ledger.height_of(&next).is_none() {
            let hex = self.rpc.call("getblock", json!([next, 0])).await?;
            let block: Block = decode(&hex)?;
            next = block.header.prev_blockhash;
            blocks.push(block);
        }
        blocks.reverse();
        Ok((next, blocks))
    }

    /// The transactions of the node's mempool that the view's lacks. What left the mempool meanwhile is not among them.
    async fn arrived(&self, mempool: &HashSet<Txid>) -> anyhow::Result<Vec<Transaction>> {
        let missing: Vec<Txid> = {
            let view = self.view();
            let is_missing = |txid: &&Txid| !view.mempool.contains(txid);
            mempool.iter().filter(is_missing).copied().collect()
        };
        let mut arrived = Vec::with_capacity(missing.len());
        for txids in missing.chunks(CALLS_PER_BATCH) {
            let params = txids.iter().map(|txid| json!([txid]));
            let replies = self.rpc.batch("getrawtransaction", params).await?;
            for hex in replies.into_iter().flatten() {
                arrived.push(decode(&hex)?);
            }
        }
        Ok(arrived)
    }
}

impl View {
    fn take(&mut self, news: News) -> anyhow::Result<()> {
        while self.ledger.tip().hash != news.fork {
            self.ledger
                .disconnect()
                .context("the node's chain starts with another block")?;
        }
        for block in news.blocks {
            self.ledger.follow(block)?;
        }
        let is_gone = |txid: &&Txid| !news.mempool.contains(*txid);
        let gone: Vec<Txid> = self
            .mempool
            .iter()
            .map(|(txid, _)| txid)
            .filter(is_gone)
            .copied()
            .collect();
        for txid in gone {
            self.mempool.remove(&txid);
        }
        // Parents have to come first, and they may come in any order.
        let mut arrived = news.arrived;
        while !arrived.is_empty() {
            let before = arrived.len();
            arrived.retain(|tx| self.add(tx).is_none());
            if arrived.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Adds a transaction to the mempool; `None` if an output that it spends is not known.
    fn add(&mut self, tx: &Transaction) -> Option<()> {
        let coin = |input: &TxIn| {
            let outpoint = &input.previous_output;
            let waiting = self.mempool.output(outpoint).map(|output| Coin {
                output: output.clone(),
                height: self.ledger.height() + 1,
                coinbase: false,
            });
            waiting.or_else(|| self.ledger.coin(outpoint).cloned())
        };
        let coins: Vec<Coin> = tx.input.iter().map(coin).collect::<Option<_>>()?;
        let spent: Vec<&TxOut> = coins.iter().map(|coin| &coin.output).collect();
        let paid_in: Amount = spent.iter().map(|output| output.value).sum();
        let paid_out: Amount = tx.output.iter().map(|output| output.value).sum();
        let vsize = standard::virtual_size(tx, &spent).ok()?;
        let fee = paid_in.checked_sub(paid_out)?;
        self.mempool
            .insert(tx.compute_txid(), tx.clone(), fee, vsize, coins);
        Some(())
    }
}
