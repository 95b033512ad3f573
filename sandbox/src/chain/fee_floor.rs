//! The fee rates below which nothing is mined or kept while block space is short.

use std::collections::{BTreeSet, HashSet};

use bitcoin::{Amount, FeeRate, Txid};

use super::mempool::Mempool;
use super::standard::rate_of;

impl Mempool {
    /// What a block can hold, parents first: neither what is on hold nor what pays less than the floor, and nothing that depends on
    /// these.
    pub(super) fn minable(&self, held: &HashSet<Txid>, floor: FeeRate) -> Vec<Txid> {
        let paying = self.paying(floor);
        let mut left_out = BTreeSet::new();
        let mut minable = Vec::new();
        for txid in self.in_order() {
            let parents = self.get(&txid).map(|entry| self.parents(&entry.tx));
            let needs_other = parents.is_none_or(|all| !left_out.is_disjoint(&all));
            if needs_other || held.contains(&txid) || !paying.contains(&txid) {
                left_out.insert(txid);
            } else {
                minable.push(txid);
            }
        }
        minable
    }

    /// The entries that pay at least this rate, alone or together with the unpaid entries that they depend on.
    fn paying(&self, floor: FeeRate) -> HashSet<Txid> {
        let floor = sat_per_kvb(floor);
        let mut paying = HashSet::new();
        loop {
            let before = paying.len();
            for (txid, entry) in self.iter() {
                let mut package = self.ancestors(&entry.tx);
                package.insert(*txid);
                package.retain(|txid| !paying.contains(txid));
                if self.rate(&package) >= floor {
                    paying.extend(package);
                }
            }
            if paying.len() == before {
                return paying;
            }
        }
    }

    /// Removes and returns the entries that pay less than this rate, alone and together with what depends on them.
    pub(super) fn remove_below(&mut self, floor: FeeRate) -> Vec<Txid> {
        let floor = sat_per_kvb(floor);
        let mut gone = Vec::new();
        loop {
            let cheap = self.iter().find(|(txid, _)| {
                let alone = BTreeSet::from([**txid]);
                let mut package = self.descendants(txid);
                package.insert(**txid);
                self.rate(&alone).max(self.rate(&package)) < floor
            });
            let Some(cheap) = cheap.map(|(txid, _)| *txid) else {
                return gone;
            };
            gone.extend(self.remove_with_descendants(&cheap));
        }
    }

    /// The fee rate of some entries together, in sat per thousand virtual bytes.
    fn rate(&self, txids: &BTreeSet<Txid>) -> u64 {
        let entries = || txids.iter().filter_map(|txid| self.get(txid));
        let fee: Amount = entries().map(|entry| entry.fee).sum();
        rate_of(fee, entries().map(|entry| entry.vsize).sum())
    }
}

fn sat_per_kvb(rate: FeeRate) -> u64 {
    rate.to_sat_per_kwu().saturating_mul(4)
}
