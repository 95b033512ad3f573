//! Reorganisations of a real node: the new blocks are assembled by a simulation that continues the node's chain, and submitted to
//! the node, which switches to them once they outnumber the old ones.

use anyhow::{Context, ensure};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Block, BlockHash};
use serde_json::json;

use super::{HOLD, Node};
use crate::chain::Reorg;
use crate::chain::sim::Sim;

impl Node {
    /// Replaces the last `depth` blocks by one more.
    pub(in crate::chain) async fn reorg(
        &self,
        depth: u32,
        choice: &Reorg,
    ) -> anyhow::Result<Vec<BlockHash>> {
        let mut sim = Sim::on(self.view().clone(), self.config.clone());
        sim.held = self.held().await?;
        let hashes = sim.reorg(depth, choice)?;
        let blocks = sim.view.ledger.last(hashes.len());

        // The node takes them back into its mempool, so they are held before.
        if let Reorg::Drop(txids) = choice {
            for txid in txids {
                self.set_delta(*txid, HOLD).await?;
            }
        }
        for block in blocks {
            self.submit_block(block).await?;
        }
        let best: BlockHash = self.rpc.call("getbestblockhash", json!([])).await?;
        ensure!(
            hashes.last() == Some(&best),
            "the node does not follow the reorganisation"
        );
        Ok(hashes)
    }

    /// Submits a block to the node. The block need not become the tip.
    pub(super) async fn submit_block(&self, block: &Block) -> anyhow::Result<()> {
        let params = json!([serialize_hex(block)]);
        let verdict: Option<String> = self.rpc.call("submitblock", params).await?;
        match verdict.as_deref() {
            None | Some("inconclusive" | "duplicate") => Ok(()),
            Some(reason) => Err(anyhow::anyhow!("{reason}"))
                .with_context(|| format!("the node refuses block {}", block.block_hash())),
        }
    }
}
