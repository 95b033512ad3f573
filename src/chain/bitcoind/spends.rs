//! Finds the transaction that spends an output.
//!
//! The node reports at once whether an output is unspent and which mempool transaction spends it. Only for an output that was
//! spent in a block are blocks scanned: from the tip back to the block where the output was last known as unspent, or to the
//! block that created it. Each block is fetched once, whichever outputs are searched for.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::{BlockHash, OutPoint, Txid};
use bitcoin_ext::BlockHeight;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::Bitcoind;
use super::spend_index::Known;
use crate::chain::timeout::CALL_TIMEOUT;
use crate::chain::{Error, Spend, TxStatus};

/// Outputs that one request asks about.
const BATCH: usize = 100;

impl Bitcoind {
    /// The transaction that spends an output; `None` when the output is unspent or unknown. A search through many blocks
    /// continues after the time limit, so that a later call finishes sooner.
    pub(crate) async fn spender(
        self: &Arc<Self>,
        outpoint: OutPoint,
    ) -> Result<Option<Spend>, Error> {
        if let Some(Known::Spent { txid, block }) = self.spends.known(outpoint)
            && let Some(spend) = self.confirmed_spend(txid, block).await?
        {
            return Ok(Some(spend));
        }
        if self.are_unspent(&[outpoint]).await?.contains(&true) {
            return Ok(None);
        }
        self.find_spender(outpoint).await
    }

    /// The transactions that spend these outputs. The node is asked once for each hundred outputs, and then for each spent one.
    pub(crate) async fn spenders(
        self: &Arc<Self>,
        outpoints: &[OutPoint],
    ) -> Result<HashMap<OutPoint, Spend>, Error> {
        let mut spends = HashMap::new();
        for batch in outpoints.chunks(BATCH) {
            let unspent = self.are_unspent(batch).await?;
            for (outpoint, unspent) in batch.iter().zip(unspent) {
                if !unspent && let Some(spend) = self.spender(*outpoint).await? {
                    spends.insert(*outpoint, spend);
                }
            }
        }
        Ok(spends)
    }

    /// The transaction that spends an output which is not unspent.
    async fn find_spender(self: &Arc<Self>, outpoint: OutPoint) -> Result<Option<Spend>, Error> {
        if let Some(txid) = self.mempool_spender(outpoint).await? {
            let status = TxStatus::Mempool;
            return Ok(Some(Spend { txid, status }));
        }
        let Some(created_at) = self.created_at(outpoint).await? else {
            return Ok(None);
        };

        let deadline = Instant::now() + CALL_TIMEOUT;
        let too_long = |_| {
            Error::Unavailable(format!(
                "the search for the block that spends {outpoint} continues; ask again later"
            ))
        };
        let running = Arc::clone(&self.running_search).lock_owned();
        let running = timeout_at(deadline, running).await.map_err(too_long)?;
        let node = Arc::clone(self);
        let search = tokio::spawn(async move {
            let _running = running;
            node.search(outpoint, created_at).await
        });
        let found = timeout_at(deadline, search).await.map_err(too_long)?;
        found.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    /// Whether each of these outputs exists and no transaction in chain or mempool spends it.
    async fn are_unspent(&self, outpoints: &[OutPoint]) -> Result<Vec<bool>, Error> {
        #[derive(Deserialize)]
        struct Unspent {
            #[serde(rename = "bestblock")]
            best_block: BlockHash,
        }
        let params: Vec<Value> = outpoints
            .iter()
            .map(|outpoint| json!([outpoint.txid, outpoint.vout, true]))
            .collect();
        let answers = self.rpc.call_each::<Option<Unspent>>("gettxout", &params);
        let mut unspent = Vec::with_capacity(outpoints.len());
        for (outpoint, answer) in outpoints.iter().zip(answers.await?) {
            let answer = answer?;
            if let Some(found) = &answer {
                let known = Known::Unspent(found.best_block);
                self.spends.insert_output(*outpoint, known);
            }
            unspent.push(answer.is_some());
        }
        Ok(unspent)
    }

    async fn mempool_spender(&self, outpoint: OutPoint) -> Result<Option<Txid>, Error> {
        #[derive(Deserialize)]
        struct Spender {
            #[serde(rename = "spendingtxid")]
            txid: Option<Txid>,
        }
        let params = json!([[{ "txid": outpoint.txid, "vout": outpoint.vout }]]);
        let spenders: Vec<Spender> = self.rpc.call("gettxspendingprevout", params).await?;
        Ok(spenders.into_iter().find_map(|spender| spender.txid))
    }

    /// The height of the block that created a spent output; `None` if there is no such output or it cannot be spent.
    async fn created_at(&self, outpoint: OutPoint) -> Result<Option<BlockHeight>, Error> {
        let Some(transaction) = self.transaction(outpoint.txid).await? else {
            return Ok(None);
        };
        let vout = usize::try_from(outpoint.vout).unwrap_or(usize::MAX);
        let output = transaction.output.get(vout);
        if output.is_none_or(|output| output.script_pubkey.is_op_return()) {
            return Ok(None);
        }
        match self.status(outpoint.txid).await? {
            TxStatus::Confirmed { height, .. } => Ok(Some(height)),
            TxStatus::NotFound => Ok(None),
            TxStatus::Mempool => Err(chain_changed(outpoint)),
        }
    }

    /// Scans the blocks from the tip down to the height `created_at`.
    async fn search(
        &self,
        outpoint: OutPoint,
        created_at: BlockHeight,
    ) -> Result<Option<Spend>, Error> {
        let tip = self.tip(None).await?;
        let unspent_until = match self.spends.known(outpoint) {
            Some(Known::Unspent(block)) => Some(block),
            _ => None,
        };
        let (mut height, mut hash) = (tip.height.to_u32(), tip.hash);
        while height >= created_at.to_u32() && Some(hash) != unspent_until {
            let (spender, parent) = self.spender_in(hash, outpoint).await?;
            if let Some(txid) = spender {
                let known = Known::Spent { txid, block: hash };
                self.spends.insert_output(outpoint, known);
                let spend = self.confirmed_spend(txid, hash).await?;
                return spend.ok_or_else(|| chain_changed(outpoint)).map(Some);
            }
            let Some(below) = height.checked_sub(1) else {
                break;
            };
            (height, hash) = (below, parent);
        }
        Err(chain_changed(outpoint))
    }

    /// The transaction of a block that spends an output, and the block's parent.
    async fn spender_in(
        &self,
        hash: BlockHash,
        outpoint: OutPoint,
    ) -> Result<(Option<Txid>, BlockHash), Error> {
        if let Some(parent) = self.spends.parent_if_unrelated(hash, outpoint) {
            return Ok((None, parent));
        }
        let block = self.block(hash).await?;
        self.spends.insert_block(&block);
        let spends = |tx: &&bitcoin::Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| input.previous_output == outpoint)
        };
        let spender = block.txdata.iter().find(spends);
        let txid = spender.map(bitcoin::Transaction::compute_txid);
        Ok((txid, block.header.prev_blockhash))
    }

    /// The spend by a transaction of a block; `None` if the block is not in the best chain.
    async fn confirmed_spend(&self, txid: Txid, hash: BlockHash) -> Result<Option<Spend>, Error> {
        let header = self.header(hash).await?;
        let header = header.filter(super::Header::in_best_chain);
        Ok(header.map(|header| {
            let height = BlockHeight::new(header.height);
            let status = TxStatus::Confirmed { height, hash };
            Spend { txid, status }
        }))
    }
}

/// The error for answers of the node that contradict each other, because a block arrived between them.
fn chain_changed(outpoint: OutPoint) -> Error {
    Error::Unavailable(format!(
        "the chain changed during the search for the spender of {outpoint}; ask again"
    ))
}
