//! What earlier searches for the spenders of outputs have found. Every entry is bound to a block hash, so a reorganisation makes
//! entries useless but never wrong.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::{Block, BlockHash, OutPoint, Txid};

/// The most spent outpoints that are kept, at 8 bytes each: those of about 300 full blocks.
const MAX_SPENT: usize = 2_000_000;
/// The most blocks that are kept, for chains of small blocks.
const MAX_BLOCKS: usize = 20_000;
/// The most outputs that are kept. At the limit all of them are dropped.
const MAX_OUTPUTS: usize = 50_000;

/// What is known of outputs, and the spends of the blocks that were scanned.
#[derive(Default)]
pub(super) struct SpendIndex(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    outputs: HashMap<OutPoint, Known>,
    blocks: HashMap<BlockHash, BlockSpends>,
    oldest_first: VecDeque<BlockHash>,
    /// The number of spent outpoints in all `blocks`.
    spent: usize,
    hasher: RandomState,
}

/// What is known of an output.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// No block up to and including this one spends it.
    Unspent(BlockHash),
    /// This transaction in this block spends it.
    Spent { txid: Txid, block: BlockHash },
}

/// The outpoints that a block spends, as sorted hashes.
struct BlockSpends {
    parent: BlockHash,
    spent: Box<[u64]>,
}

impl SpendIndex {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self, outpoint: OutPoint) -> Option<Known> {
        self.entries().outputs.get(&outpoint).copied()
    }

    /// The parent of a scanned block that certainly does not spend `outpoint`; `None` if the block may spend it (hashes can
    /// collide) or was not scanned.
    pub(super) fn parent_if_unrelated(
        &self,
        block: BlockHash,
        outpoint: OutPoint,
    ) -> Option<BlockHash> {
        let entries = self.entries();
        let spends = entries.blocks.get(&block)?;
        let hash = entries.hasher.hash_one(outpoint);
        spends
            .spent
            .binary_search(&hash)
            .is_err()
            .then_some(spends.parent)
    }

    pub(super) fn insert_block(&self, block: &Block) {
        self.entries().insert(block);
    }

    pub(super) fn insert_output(&self, outpoint: OutPoint, known: Known) {
        let outputs = &mut self.entries().outputs;
        if outputs.len() >= MAX_OUTPUTS {
            outputs.clear();
        }
        outputs.insert(outpoint, known);
    }
}

impl Entries {
    fn insert(&mut self, block: &Block) {
        let inputs = block.txdata.iter().flat_map(|tx| &tx.input);
        let mut spent: Box<[u64]> = inputs
            .map(|input| self.hasher.hash_one(input.previous_output))
            .collect();
        spent.sort_unstable();
        let (hash, count) = (block.block_hash(), spent.len());
        let parent = block.header.prev_blockhash;
        let spends = BlockSpends { parent, spent };
        if self.blocks.insert(hash, spends).is_none() {
            self.oldest_first.push_back(hash);
            self.spent += count;
        }
        while (self.spent > MAX_SPENT || self.blocks.len() > MAX_BLOCKS)
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            let dropped = self.blocks.remove(&oldest);
            self.spent -= dropped.map_or(0, |block| block.spent.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;
    use bitcoin::constants::genesis_block;

    #[test]
    fn at_the_limit_the_oldest_blocks_are_dropped() {
        let mut entries = Entries::default();
        let mut block = genesis_block(Network::Regtest);
        let first = block.block_hash();
        for _ in 0..=MAX_BLOCKS {
            entries.insert(&block);
            block.header.nonce += 1;
        }
        assert!(!entries.blocks.contains_key(&first));
        assert_eq!(entries.blocks.len(), MAX_BLOCKS);
        assert_eq!(entries.oldest_first.len(), MAX_BLOCKS);
        assert_eq!(entries.spent, MAX_BLOCKS);
    }
}
