//! The best chain: its blocks, the outputs that nothing in it spends, and the indexes over both.
//!
//! A block is added by `block::connect`, which checks it in full, or by [`Ledger::follow`] if a real node has checked it. Only the
//! last block can be removed.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, ensure};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Block, BlockHash, Network, OutPoint, Script, Transaction, TxIn, TxOut, Txid};

use super::Tip;
use super::consensus::{Coin, Place};

/// The key of the script index, as in Esplora.
pub(super) fn script_hash(script: &Script) -> sha256::Hash {
    sha256::Hash::hash(script.as_bytes())
}

/// A block of the chain.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) block: Block,
    pub(super) hash: BlockHash,
    /// For each transaction after the coinbase the coins that it spends, in the order of its inputs.
    spent: Vec<Vec<Coin>>,
}

/// The best chain.
#[derive(Clone)]
pub(super) struct Ledger {
    blocks: Vec<Connected>,
    heights: HashMap<BlockHash, u32>,
    coins: HashMap<OutPoint, Coin>,
    txs: HashMap<Txid, (u32, usize)>,
    spenders: HashMap<OutPoint, (Txid, u32)>,
    scripts: HashMap<sha256::Hash, Vec<Txid>>,
}

impl Ledger {
    /// The chain of the genesis block alone. Its output can never be spent.
    pub(super) fn new() -> Ledger {
        let genesis = bitcoin::constants::genesis_block(Network::Regtest);
        let mut ledger = Ledger {
            blocks: Vec::new(),
            heights: HashMap::new(),
            coins: HashMap::new(),
            txs: HashMap::new(),
            spenders: HashMap::new(),
            scripts: HashMap::new(),
        };
        ledger.apply(genesis, Vec::new());
        ledger.coins.clear();
        ledger
    }

    pub(super) fn height(&self) -> u32 {
        u32::try_from(self.blocks.len() - 1)
            .expect("a chain in memory stays below four billion blocks")
    }

    pub(super) fn tip(&self) -> Tip {
        let top = self.blocks.last().expect("genesis is never disconnected");
        Tip {
            height: self.height(),
            hash: top.hash,
        }
    }

    pub(super) fn at(&self, height: u32) -> Option<&Connected> {
        self.blocks.get(height as usize)
    }

    pub(super) fn tip_at(&self, height: u32) -> Option<Tip> {
        self.at(height).map(|connected| Tip {
            height,
            hash: connected.hash,
        })
    }

    /// The last `count` blocks, oldest first.
    pub(super) fn last(&self, count: usize) -> impl Iterator<Item = &Block> {
        let start = self.blocks.len().saturating_sub(count);
        self.blocks[start..]
            .iter()
            .map(|connected| &connected.block)
    }

    pub(super) fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.heights.get(hash).copied()
    }

    pub(super) fn coin(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.coins.get(outpoint)
    }

    /// A transaction with its height and its index in the block.
    pub(super) fn tx(&self, txid: &Txid) -> Option<(&Transaction, u32, usize)> {
        let (height, index) = *self.txs.get(txid)?;
        Some((&self.at(height)?.block.txdata[index], height, index))
    }

    /// The outputs that a transaction of the chain spends; none for a coinbase.
    pub(super) fn spent_by(&self, txid: &Txid) -> Vec<&TxOut> {
        let Some(&(height, index)) = self.txs.get(txid) else {
            return Vec::new();
        };
        let coins = index
            .checked_sub(1)
            .and_then(|index| self.blocks[height as usize].spent.get(index));
        coins
            .into_iter()
            .flatten()
            .map(|coin| &coin.output)
            .collect()
    }

    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<(Txid, u32)> {
        self.spenders.get(outpoint).copied()
    }

    /// The transactions that pay to or spend from a script, oldest first.
    pub(super) fn history(&self, script: &sha256::Hash) -> &[Txid] {
        self.scripts.get(script).map_or(&[], Vec::as_slice)
    }

    /// The median time of the eleven blocks that end at a height.
    pub(super) fn median_time(&self, height: u32) -> u32 {
        let end = (height as usize + 1).min(self.blocks.len());
        let mut times: Vec<u32> = self.blocks[end.saturating_sub(11)..end]
            .iter()
            .map(|connected| connected.block.header.time)
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// Where the next block goes.
    pub(super) fn next_place(&self) -> Place {
        Place {
            height: self.height() + 1,
            median_time: self.median_time(self.height()),
        }
    }

    /// Puts a block on top that a node has checked before.
    pub(super) fn follow(&mut self, block: Block) -> anyhow::Result<()> {
        ensure!(
            block.header.prev_blockhash == self.tip().hash,
            "block {} is not the next one",
            block.block_hash()
        );
        let height = self.height() + 1;
        let mut earlier: HashMap<Txid, &Transaction> = HashMap::new();
        let mut spent = Vec::with_capacity(block.txdata.len());
        for tx in block.txdata.iter().skip(1) {
            let coin = |input: &TxIn| {
                let OutPoint { txid, vout } = input.previous_output;
                let Some(parent) = earlier.get(&txid) else {
                    return self.coin(&input.previous_output).cloned();
                };
                Some(Coin {
                    output: parent.output.get(vout as usize)?.clone(),
                    height,
                    coinbase: false,
                })
            };
            let txid = tx.compute_txid();
            let coins: Option<Vec<Coin>> = tx.input.iter().map(coin).collect();
            spent.push(coins.with_context(|| format!("{txid} spends what is not there"))?);
            earlier.insert(txid, tx);
        }
        self.apply(block, spent);
        Ok(())
    }

    /// Puts a checked block on top. `spent` are, for each transaction after the coinbase, the coins that it spends.
    pub(super) fn apply(&mut self, block: Block, spent: Vec<Vec<Coin>>) {
        let height = u32::try_from(self.blocks.len())
            .expect("a chain in memory stays below four billion blocks");
        for (index, tx) in block.txdata.iter().enumerate() {
            let txid = tx.compute_txid();
            let coins = index.checked_sub(1).and_then(|index| spent.get(index));
            for script in scripts_of(tx, coins) {
                self.scripts.entry(script).or_default().push(txid);
            }
            if index > 0 {
                for (vin, input) in (0..).zip(&tx.input) {
                    self.coins.remove(&input.previous_output);
                    self.spenders.insert(input.previous_output, (txid, vin));
                }
            }
            for (vout, output) in (0..).zip(&tx.output) {
                if !output.script_pubkey.is_op_return() {
                    let coin = Coin {
                        output: output.clone(),
                        height,
                        coinbase: index == 0,
                    };
                    self.coins.insert(OutPoint { txid, vout }, coin);
                }
            }
            self.txs.insert(txid, (height, index));
        }
        let hash = block.block_hash();
        self.heights.insert(hash, height);
        self.blocks.push(Connected { block, hash, spent });
    }

    /// Takes the last block off; `None` at genesis.
    pub(super) fn disconnect(&mut self) -> Option<Block> {
        if self.height() == 0 {
            return None;
        }
        let Connected {
            block,
            hash,
            mut spent,
        } = self.blocks.pop()?;
        self.heights.remove(&hash);
        for (index, tx) in block.txdata.iter().enumerate().rev() {
            let txid = tx.compute_txid();
            let coins = (index > 0).then(|| spent.pop()).flatten();
            for script in scripts_of(tx, coins.as_ref()) {
                if let Some(history) = self.scripts.get_mut(&script) {
                    history.pop();
                }
            }
            for vout in (0..).take(tx.output.len()) {
                self.coins.remove(&OutPoint { txid, vout });
            }
            for (input, coin) in tx.input.iter().zip(coins.into_iter().flatten()) {
                self.spenders.remove(&input.previous_output);
                self.coins.insert(input.previous_output, coin);
            }
            self.txs.remove(&txid);
        }
        Some(block)
    }
}

fn scripts_of(tx: &Transaction, spent: Option<&Vec<Coin>>) -> BTreeSet<sha256::Hash> {
    let paid_from = spent.into_iter().flatten().map(|coin| &coin.output);
    tx.output
        .iter()
        .chain(paid_from)
        .map(|output| script_hash(&output.script_pubkey))
        .collect()
}
