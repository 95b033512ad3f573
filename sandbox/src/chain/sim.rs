//! The simulated node: the best chain, the mempool, and the miner that turns one into the other.

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
    pub(super) fee_rates: FeeRates,
    pub(super) auto_mine: AutoMine,
    pub(super) held: HashSet<Txid>,
    /// Stands in for the clock when set, in seconds since 1970.
    pub(super) time: Option<u32>,
    /// Refuses the next transaction or package with this text.
    pub(super) reject_next: Option<String>,
    coinbase_script: ScriptBuf,
    /// Makes each block unlike any other on the same parent.
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

    /// A node in RAM that goes on from this state.
    pub(super) fn on(view: View, config: ChainConfig) -> Sim {
        Sim {
            view,
            min_relay_fee: config.min_relay_fee,
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

    /// Mines one block with all that the mempool offers.
    pub(super) fn mine_block(&mut self) -> anyhow::Result<BlockHash> {
        let (txs, fees) = self.select();
        self.mine_with(txs, fees)
    }

    /// Mines one block that leaves the mempool waiting.
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
        for txid in self.view.mempool.in_order() {
            let Some(entry) = self.view.mempool.get(&txid) else {
                continue;
            };
            let needs_other = entry
                .tx
                .input
                .iter()
                .any(|input| left_out.contains(&input.previous_output.txid));
            let with_it = weight + entry.tx.weight().to_wu();
            if needs_other || self.held.contains(&txid) || with_it > MAX_TEMPLATE_WEIGHT {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::testing::{Lab, config, output_of};

    const COIN: u64 = 50 * 100_000_000;

    #[test]
    fn a_reorganisation_mines_again_what_it_is_told_to_keep() {
        let mut lab = Lab::new();
        let first = lab.spend(2, &[lab.coin(1)], vec![lab.own(COIN - 1000)]);
        lab.submit(&first).unwrap();
        lab.sim.mine_block().unwrap();
        let second = lab.spend(2, &[output_of(&first, 0)], vec![lab.own(COIN - 2000)]);
        lab.submit(&second).unwrap();
        let old = lab.sim.mine_block().unwrap();

        let hashes = lab.sim.reorg(2, &Reorg::Keep).unwrap();
        assert_eq!(hashes.len(), 3);
        assert_eq!(lab.sim.view.ledger.height(), 123);
        assert!(lab.sim.view.ledger.height_of(&old).is_none());
        assert_eq!(
            lab.sim.view.ledger.tx(&second.compute_txid()).unwrap().1,
            121
        );

        lab.sim
            .reorg(3, &Reorg::Drop(vec![first.compute_txid()]))
            .unwrap();
        assert!(lab.sim.view.tx(&first.compute_txid()).is_none());
        assert!(
            lab.sim.view.tx(&second.compute_txid()).is_none(),
            "its child cannot stay"
        );
        assert!(lab.sim.view.ledger.coin(&lab.coin(1)).is_some());
        assert_eq!(
            lab.sim
                .view
                .spender(&lab.coin(1))
                .map(|spender| spender.txid),
            None
        );
    }

    #[test]
    fn a_reorganisation_can_double_spend() {
        let mut lab = Lab::new();
        let honest = lab.spend(2, &[lab.coin(1)], vec![lab.own(COIN - 1000)]);
        lab.submit(&honest).unwrap();
        lab.sim.mine_block().unwrap();
        let theft = lab.spend(2, &[lab.coin(1)], vec![lab.own(COIN - 900)]);
        lab.sim
            .reorg(1, &Reorg::Replace(vec![theft.clone()]))
            .unwrap();
        assert!(lab.sim.view.tx(&honest.compute_txid()).is_none());
        assert!(lab.sim.view.ledger.tx(&theft.compute_txid()).is_some());
    }

    #[test]
    fn a_reorganisation_that_cannot_be_leaves_everything_as_it_was() {
        let mut lab = Lab::new();
        let waiting = lab.spend(2, &[lab.coin(2)], vec![lab.own(COIN - 1000)]);
        lab.submit(&waiting).unwrap();
        let tip = lab.sim.view.ledger.tip();
        let mut broken = lab.spend(2, &[lab.coin(1)], vec![lab.own(COIN - 900)]);
        broken.input[0].witness.clear();
        assert!(lab.sim.reorg(1, &Reorg::Replace(vec![broken])).is_err());
        assert!(lab.sim.reorg(121, &Reorg::Keep).is_err());
        assert_eq!(lab.sim.view.ledger.tip(), tip);
        assert!(lab.sim.view.mempool.contains(&waiting.compute_txid()));
    }

    #[test]
    fn what_is_on_hold_waits_and_so_does_its_child() {
        let mut lab = Lab::new();
        let parent = lab.spend(2, &[lab.coin(1)], vec![lab.own(COIN - 1000)]);
        lab.submit(&parent).unwrap();
        let child = lab.spend(2, &[output_of(&parent, 0)], vec![lab.own(COIN - 3000)]);
        lab.submit(&child).unwrap();
        lab.sim.held.insert(parent.compute_txid());
        assert!(!lab.sim.has_work());
        lab.sim.mine_block().unwrap();
        assert_eq!(
            lab.sim.view.mempool.in_order(),
            [parent.compute_txid(), child.compute_txid()]
        );
        lab.sim.held.clear();
        lab.sim.mine_block().unwrap();
        assert!(lab.sim.view.mempool.is_empty());
    }

    #[test]
    fn a_restart_finds_the_same_chain_and_mempool() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().to_owned());
        let mut lab = Lab::at(path.clone());
        let mined = lab.spend(2, &[lab.coin(1)], vec![lab.own(COIN - 1000)]);
        lab.submit(&mined).unwrap();
        lab.sim.mine_block().unwrap();
        lab.sim.save().unwrap();
        lab.sim.reorg(1, &Reorg::Keep).unwrap();
        let parent = lab.exit(lab.coin(2));
        let child = lab.child(&parent, lab.coin(3), 1000);
        assert!(lab.sim.submit_package(&[parent, child]).is_success());
        lab.sim.save().unwrap();
        let (tip, waiting) = (lab.sim.view.ledger.tip(), lab.sim.view.mempool.in_order());
        assert!(
            Sim::open(config(path.clone(), ScriptBuf::new())).is_err(),
            "one at a time"
        );
        drop(lab);

        // A record that a crash cut short is as if it had never been.
        let blocks = dir.path().join("blocks.dat");
        let mut bytes = std::fs::read(&blocks).unwrap();
        let whole = bytes.len();
        bytes.extend([200, 0, 0, 0, 1, 2, 3, 4, 5]);
        std::fs::write(&blocks, bytes).unwrap();

        let again = Sim::open(config(path, ScriptBuf::new())).unwrap();
        assert_eq!(again.view.ledger.tip(), tip);
        assert_eq!(again.view.mempool.in_order(), waiting);
        assert!(again.view.ledger.tx(&mined.compute_txid()).is_some());
        assert_eq!(std::fs::metadata(&blocks).unwrap().len(), whole as u64);
    }

    #[test]
    fn the_end_of_time_ends_the_chain_and_not_the_process() {
        let mut lab = Lab::new();
        lab.sim.time = Some(u32::MAX);
        let mined = (0..20).try_for_each(|_| lab.sim.mine_block().map(drop));
        assert!(format!("{:#}", mined.unwrap_err()).contains("time-too-old"));
    }

    #[test]
    fn the_subsidy_halves_every_150_blocks() {
        let mut lab = Lab::new();
        while lab.sim.view.ledger.height() < 150 {
            lab.sim.mine_block().unwrap();
        }
        let value = |height: u32| {
            lab.sim.view.ledger.at(height).unwrap().block.txdata[0].output[0]
                .value
                .to_sat()
        };
        assert_eq!((value(149), value(150)), (COIN, COIN / 2));
    }
}
