//! Who spends an output. The node knows at once whether an output is unspent and what spends it in the mempool; only for one
//! that was spent in a block are blocks looked through: back from the tip to the block where the output was last seen unspent,
//! or was made. Each block is fetched once, whatever is looked for (P8, P9).
//!
//! All that is remembered is bound to block hashes, so a reorganisation makes it useless and never wrong.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::{Block, BlockHash, OutPoint, Txid};
use bitcoin_ext::BlockHeight;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Bitcoind;
use crate::chain::{CALL_TIMEOUT, Error, Spend, TxStatus};

/// How many spent outpoints of looked-through blocks are kept, 8 bytes each: some 300 full blocks.
const MOST_SPENT: usize = 2_000_000;
/// How many blocks are kept at most, for chains of small ones.
const MOST_BLOCKS: usize = 20_000;
/// How many outputs are remembered; beyond, the memory starts anew.
const MOST_OUTPUTS: usize = 50_000;

/// What earlier questions have brought to light.
#[derive(Default)]
pub(super) struct SpendIndex {
    memory: Mutex<Memory>,
    /// Held by the running search.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Memory {
    outputs: HashMap<OutPoint, Known>,
    blocks: HashMap<BlockHash, Arc<BlockSpends>>,
    oldest_first: VecDeque<BlockHash>,
    /// The spent outpoints in all `blocks`.
    spent: usize,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
enum Known {
    /// No block up to this one spends it.
    Unspent(BlockHash),
    /// This block spends it.
    Spent { txid: Txid, block: BlockHash },
}

/// What a block spends, as hashes in order.
struct BlockSpends {
    parent: BlockHash,
    spent: Box<[u64]>,
}

impl SpendIndex {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, outpoint: OutPoint) -> Option<Known> {
        self.memory().outputs.get(&outpoint).copied()
    }

    fn remember(&self, outpoint: OutPoint, known: Known) {
        let outputs = &mut self.memory().outputs;
        if outputs.len() >= MOST_OUTPUTS {
            outputs.clear();
        }
        outputs.insert(outpoint, known);
    }
}

impl Memory {
    fn insert(&mut self, block: &Block) -> Arc<BlockSpends> {
        let inputs = block.txdata.iter().flat_map(|tx| &tx.input);
        let mut spent: Box<[u64]> = inputs
            .map(|input| self.hasher.hash_one(input.previous_output))
            .collect();
        spent.sort_unstable();
        let spends = Arc::new(BlockSpends {
            parent: block.header.prev_blockhash,
            spent,
        });
        let hash = block.block_hash();
        if self.blocks.insert(hash, Arc::clone(&spends)).is_none() {
            self.oldest_first.push_back(hash);
            self.spent += spends.spent.len();
        }
        while (self.spent > MOST_SPENT || self.blocks.len() > MOST_BLOCKS)
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            let dropped = self.blocks.remove(&oldest);
            self.spent -= dropped.map_or(0, |block| block.spent.len());
        }
        spends
    }
}

impl Bitcoind {
    /// Who spends an output; `None` when nobody does or the output is unknown. A search through many blocks goes on after
    /// the time limit, so that asking again finds more of it done.
    pub(crate) async fn spender(
        self: &Arc<Self>,
        outpoint: OutPoint,
    ) -> Result<Option<Spend>, Error> {
        if let Some(Known::Spent { txid, block }) = self.spends.known(outpoint)
            && let Some(spend) = self.confirmed_spend(txid, block).await?
        {
            return Ok(Some(spend));
        }
        if self.is_unspent(outpoint).await? {
            return Ok(None);
        }
        if let Some(txid) = self.mempool_spender(outpoint).await? {
            let status = TxStatus::Mempool;
            return Ok(Some(Spend { txid, status }));
        }
        let Some(made_at) = self.made_at(outpoint).await? else {
            return Ok(None);
        };

        let deadline = Instant::now() + CALL_TIMEOUT;
        let too_long = |_| {
            Error::Unavailable(format!(
                "still looking for the block that spends {outpoint}"
            ))
        };
        let turn = Arc::clone(&self.spends.turn).lock_owned();
        let turn = timeout_at(deadline, turn).await.map_err(too_long)?;
        let node = Arc::clone(self);
        let search = tokio::spawn(async move {
            let _turn = turn;
            node.search(outpoint, made_at).await
        });
        let found = timeout_at(deadline, search).await.map_err(too_long)?;
        found.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    async fn is_unspent(&self, outpoint: OutPoint) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Unspent {
            #[serde(rename = "bestblock")]
            best_block: BlockHash,
        }
        let params = json!([outpoint.txid, outpoint.vout, true]);
        let unspent: Option<Unspent> = self.rpc.call("gettxout", params).await?;
        if let Some(unspent) = &unspent {
            let known = Known::Unspent(unspent.best_block);
            self.spends.remember(outpoint, known);
        }
        Ok(unspent.is_some())
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

    /// The height at which an output that is not among the unspent ones was made; `None` when it never was, or nothing can
    /// spend it.
    async fn made_at(&self, outpoint: OutPoint) -> Result<Option<BlockHeight>, Error> {
        let Some(made) = self.transaction(outpoint.txid).await? else {
            return Ok(None);
        };
        let vout = usize::try_from(outpoint.vout).unwrap_or(usize::MAX);
        let output = made.output.get(vout);
        if output.is_none_or(|output| output.script_pubkey.is_op_return()) {
            return Ok(None);
        }
        match self.status(outpoint.txid).await? {
            TxStatus::Confirmed { height, .. } => Ok(Some(height)),
            TxStatus::NotFound => Ok(None),
            TxStatus::Mempool => Err(moving(outpoint)),
        }
    }

    /// Looks through the blocks from the tip down to the height `made_at`.
    async fn search(
        &self,
        outpoint: OutPoint,
        made_at: BlockHeight,
    ) -> Result<Option<Spend>, Error> {
        let tip = self.tip(None).await?;
        let unspent_until = match self.spends.known(outpoint) {
            Some(Known::Unspent(block)) => Some(block),
            _ => None,
        };
        let (mut height, mut hash) = (tip.height.to_u32(), tip.hash);
        while height >= made_at.to_u32() && Some(hash) != unspent_until {
            let (spender, parent) = self.spender_in(hash, outpoint).await?;
            if let Some(txid) = spender {
                let known = Known::Spent { txid, block: hash };
                self.spends.remember(outpoint, known);
                let spend = self.confirmed_spend(txid, hash).await?;
                return spend.ok_or_else(|| moving(outpoint)).map(Some);
            }
            let Some(below) = height.checked_sub(1) else {
                break;
            };
            (height, hash) = (below, parent);
        }
        Err(moving(outpoint))
    }

    /// The transaction of a block that spends an output, and the block's parent.
    async fn spender_in(
        &self,
        hash: BlockHash,
        outpoint: OutPoint,
    ) -> Result<(Option<Txid>, BlockHash), Error> {
        let (seen, fingerprint) = {
            let memory = self.spends.memory();
            let fingerprint = memory.hasher.hash_one(outpoint);
            (memory.blocks.get(&hash).cloned(), fingerprint)
        };
        if let Some(seen) = seen
            && seen.spent.binary_search(&fingerprint).is_err()
        {
            return Ok((None, seen.parent));
        }
        let block = self.block(hash).await?;
        let parent = self.spends.memory().insert(&block).parent;
        let spends = |tx: &&bitcoin::Transaction| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| input.previous_output == outpoint)
        };
        let spender = block.txdata.iter().find(spends);
        Ok((spender.map(bitcoin::Transaction::compute_txid), parent))
    }

    /// A spend in a block, if the block is in the best chain.
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

/// The node's answers do not fit together, because a block came between two of them.
fn moving(outpoint: OutPoint) -> Error {
    Error::Unavailable(format!(
        "the chain changed while the spender of {outpoint} was looked for"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;

    #[test]
    fn the_oldest_blocks_are_forgotten_and_counted_out() {
        let mut memory = Memory::default();
        let mut block = genesis_block(Network::Regtest);
        let first = block.block_hash();
        for _ in 0..=MOST_BLOCKS {
            memory.insert(&block);
            block.header.nonce += 1;
        }
        assert!(!memory.blocks.contains_key(&first));
        assert_eq!(memory.blocks.len(), MOST_BLOCKS);
        assert_eq!(memory.oldest_first.len(), MOST_BLOCKS);
        assert_eq!(memory.spent, MOST_BLOCKS);
    }
}
