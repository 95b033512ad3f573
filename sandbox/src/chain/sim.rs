//! The simulated node: the best chain, the mempool, and the miner that turns one into the other.

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bitcoin::{Amount, BlockHash, FeeRate, ScriptBuf, Transaction, Txid};

use super::block::{self, Template};
use super::disk::Disk;
use super::ledger::Ledger;
use super::view::View;
use super::{AutoMine, ChainConfig, FeeRates, PackageOutcome, PackageTx, Reject, Reorg};

/// Weight left for transactions beside header and coinbase.
const MAX_TEMPLATE_WEIGHT: u64 = 3_990_000;

/// The whole state of the simulated node.
pub(super) struct Sim {
    pub(super) view: View,
    pub(super) min_relay_fee: FeeRate,
    /// Lowest rate that a full mempool takes.
    pub(super) min_mempool_fee: FeeRate,
    /// Lowest rate that is mined.
    pub(super) min_mined_fee: FeeRate,
    pub(super) fee_rates: FeeRates,
    pub(super) auto_mine: AutoMine,
    pub(super) held: HashSet<Txid>,
    /// Replaces the clock if set, in seconds since 1970.
    pub(super) time: Option<u32>,
    /// Refuses the next transaction or package with this text.
    pub(super) reject_next: Option<String>,
    coinbase_script: ScriptBuf,
    /// Counter in the coinbase, so that two blocks on the same parent differ.
    nonce: u64,
    disk: Option<Disk>,
}

impl Sim {
    pub(super) fn open(config: ChainConfig) -> anyhow::Result<Sim> {
        let (disk, ledger, txs) = match &config.dir {
            Some(dir) => {
                let (disk, ledger, txs) = Disk::open(dir)?;
                (Some(disk), ledger, txs)
            }
            None => (None, Ledger::new(), Vec::new()),
        };
        let mut sim = Sim::on(View::new(ledger), config);
        sim.disk = disk;
        for tx in txs {
            if let Err(reject) = sim.readmit(&tx) {
                tracing::warn!(txid = %tx.compute_txid(), %reject, "dropped a transaction of the stored mempool");
            }
        }
        sim.save()?;
        Ok(sim)
    }

    /// A simulation in RAM that continues from this state.
    pub(super) fn on(view: View, config: ChainConfig) -> Sim {
        Sim {
            view,
            min_relay_fee: config.min_relay_fee,
            min_mempool_fee: FeeRate::ZERO,
            min_mined_fee: FeeRate::ZERO,
            fee_rates: config.fee_rates,
            auto_mine: config.auto_mine,
            held: HashSet::new(),
            time: None,
            reject_next: None,
            coinbase_script: config.coinbase_script,
            nonce: rand::random(),
            disk: None,
        }
    }

    /// Writes what changed to the directory, if there is one.
    pub(super) fn save(&mut self) -> anyhow::Result<()> {
        match &mut self.disk {
            Some(disk) => disk.save(&self.view.ledger, &self.view.mempool),
            None => Ok(()),
        }
    }

    pub(super) fn submit(&mut self, tx: &Transaction) -> Result<Txid, Reject> {
        let txid = tx.compute_txid();
        if let Some(reason) = self.reject_next.take() {
            return Err(Reject::invalid(reason));
        }
        if self.view.tx(&txid).is_none() {
            self.accept(tx)?;
        }
        Ok(txid)
    }

    pub(super) fn submit_package(&mut self, txs: &[Transaction]) -> PackageOutcome {
        let Some(reason) = self.reject_next.take() else {
            return self.accept_package(txs);
        };
        let refused = |tx: &Transaction| PackageTx {
            txid: tx.compute_txid(),
            wtxid: tx.compute_wtxid(),
            result: Err(Reject::invalid(reason.clone())),
        };
        let results = txs.iter().map(refused).collect();
        PackageOutcome {
            message: "transaction failed".into(),
            results,
            replaced: Vec::new(),
        }
    }

    /// Whether a block mined now would hold a transaction.
    pub(super) fn has_work(&self) -> bool {
        !self.view.mempool.is_empty() && !self.select().0.is_empty()
    }

    /// Mines one block with the transactions of the mempool.
    pub(super) fn mine_block(&mut self) -> anyhow::Result<BlockHash> {
        let (txs, fees) = self.select();
        self.mine_with(txs, fees)
    }

    /// Mines one block without transactions of the mempool.
    pub(super) fn mine_empty_block(&mut self) -> anyhow::Result<BlockHash> {
        self.mine_with(Vec::new(), Amount::ZERO)
    }

    fn mine_with(&mut self, txs: Vec<Transaction>, fees: Amount) -> anyhow::Result<BlockHash> {
        let tip = self.view.ledger.tip();
        self.nonce = self.nonce.wrapping_add(1);
        let template = Template {
            previous: tip.hash,
            height: tip.height + 1,
            time: self
                .now()
                .max(self.view.ledger.median_time(tip.height).saturating_add(1)),
            coinbase_script: self.coinbase_script.clone(),
            nonce: self.nonce,
            txs,
            fees,
        };
        let block = template.solve();
        let hash = block.block_hash();
        let txs = block.txdata.clone();
        block::connect(&mut self.view.ledger, block)
            .context("a block assembled from the mempool is not valid")?;
        for tx in txs.iter().skip(1) {
            self.view.mempool.remove(&tx.compute_txid());
            for input in &tx.input {
                if let Some((loser, _)) = self.view.mempool.spender(&input.previous_output) {
                    self.view.mempool.remove_with_descendants(&loser);
                }
            }
        }
        Ok(hash)
    }

    /// What goes into the next block, parents first, and the sum of the fees.
    fn select(&self) -> (Vec<Transaction>, Amount) {
        let mut left_out = HashSet::new();
        let (mut txs, mut fees, mut weight) = (Vec::new(), Amount::ZERO, 0);
        let mempool = &self.view.mempool;
        for txid in mempool.minable(&self.held, self.min_mined_fee) {
            let Some(entry) = mempool.get(&txid) else {
                continue;
            };
            let needs_other = entry
                .tx
                .input
                .iter()
                .any(|input| left_out.contains(&input.previous_output.txid));
            let with_it = weight + entry.tx.weight().to_wu();
            if needs_other || with_it > MAX_TEMPLATE_WEIGHT {
                left_out.insert(txid);
                continue;
            }
            weight = with_it;
            fees += entry.fee;
            txs.push(entry.tx.clone());
        }
        (txs, fees)
    }

    fn now(&self) -> u32 {
        self.time.unwrap_or_else(|| {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
        })
    }

    /// Replaces the last `depth` blocks by one more; on an error nothing has changed.
    pub(super) fn reorg(&mut self, depth: u32, choice: &Reorg) -> anyhow::Result<Vec<BlockHash>> {
        ensure!(depth > 0, "a reorganisation replaces at least one block");
        ensure!(
            depth <= self.view.ledger.height(),
            "the chain has only {} blocks above genesis",
            self.view.ledger.height()
        );
        let waiting: Vec<Transaction> = self
            .view
            .mempool
            .in_order()
            .iter()
            .filter_map(|txid| self.view.tx(txid))
            .cloned()
            .collect();
        let before = std::mem::take(&mut self.view.mempool);
        self.view.mempool.continue_from(&before);
        let mut old = Vec::new();
        for _ in 0..depth {
            old.extend(self.view.ledger.disconnect());
        }
        old.reverse();

        let fork = self.view.ledger.height();
        let rebuilt = self.rebuild(
            depth,
            choice,
            old.iter().flat_map(|block| &block.txdata),
            &waiting,
        );
        if rebuilt.is_err() {
            while self.view.ledger.height() > fork {
                self.view.ledger.disconnect();
            }
            for block in old {
                block::connect(&mut self.view.ledger, block)
                    .context("the blocks before the reorganisation no longer connect")?;
            }
            self.view.mempool = before;
        }
        rebuilt
    }

    fn rebuild<'a>(
        &mut self,
        depth: u32,
        choice: &Reorg,
        unmined: impl Iterator<Item = &'a Transaction>,
        waiting: &'a [Transaction],
    ) -> anyhow::Result<Vec<BlockHash>> {
        let dropped: HashSet<Txid> = match choice {
            Reorg::Drop(txids) => txids.iter().copied().collect(),
            Reorg::Keep | Reorg::Replace(_) => HashSet::new(),
        };
        if let Reorg::Replace(txs) = choice {
            for tx in txs {
                self.readmit(tx)
                    .with_context(|| format!("replacement {}", tx.compute_txid()))?;
            }
        }
        let stays = |tx: &&Transaction| !tx.is_coinbase() && !dropped.contains(&tx.compute_txid());
        // What was locked relative to another block may have to wait for a later block again.
        let mut unmined: VecDeque<&Transaction> = unmined.filter(stays).collect();
        let mut hashes = Vec::new();
        for _ in 0..=depth {
            unmined.retain(|tx| self.readmit(tx).is_err());
            hashes.push(self.mine_block()?);
        }
        for tx in unmined.into_iter().chain(waiting.iter().filter(stays)) {
            if let Err(reject) = self.readmit(tx) {
                tracing::info!(txid = %tx.compute_txid(), %reject, "a reorganisation dropped a transaction");
            }
        }
        Ok(hashes)
    }
}
