//! The unconfirmed transactions, and their dependencies.
//!
//! `accept` decides what enters; this module only stores the transactions.

use std::collections::{BTreeSet, HashMap};

use bitcoin::hashes::sha256;
use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid};

use super::consensus::Coin;
use super::ledger::script_hash;

/// A transaction in the mempool.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) tx: Transaction,
    pub(super) fee: Amount,
    pub(super) vsize: u64,
    /// The coins that it spends, in the order of its inputs.
    pub(super) coins: Vec<Coin>,
    /// Increases with each entry, so that entries can be sorted by arrival.
    pub(super) order: u64,
}

impl Entry {
    pub(super) fn spent(&self) -> Vec<&TxOut> {
        self.coins.iter().map(|coin| &coin.output).collect()
    }

    fn touches(&self, script: &sha256::Hash) -> bool {
        let outputs = self.tx.output.iter().chain(self.spent());
        outputs
            .map(|output| script_hash(&output.script_pubkey))
            .any(|hash| hash == *script)
    }
}

/// The mempool.
#[derive(Clone, Default)]
pub(super) struct Mempool {
    entries: HashMap<Txid, Entry>,
    spends: HashMap<OutPoint, (Txid, u32)>,
    arrivals: u64,
    changes: u64,
}

impl Mempool {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An empty mempool whose counters continue those of another one.
    pub(super) fn continue_from(&mut self, other: &Mempool) {
        self.arrivals = other.arrivals;
        self.changes = other.changes + 1;
    }

    /// Increases with each added or removed entry.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.entries.get(txid)
    }

    pub(super) fn contains(&self, txid: &Txid) -> bool {
        self.entries.contains_key(txid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Txid, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.get(&outpoint.txid)?
            .tx
            .output
            .get(outpoint.vout as usize)
    }

    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<(Txid, u32)> {
        self.spends.get(outpoint).copied()
    }

    /// The entries that pay to or spend from a script, newest first.
    pub(super) fn history(&self, script: &sha256::Hash) -> Vec<Txid> {
        let mut found: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.touches(script))
            .collect();
        found.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.order));
        found.into_iter().map(|(txid, _)| *txid).collect()
    }

    pub(super) fn insert(
        &mut self,
        txid: Txid,
        tx: Transaction,
        fee: Amount,
        vsize: u64,
        coins: Vec<Coin>,
    ) {
        for (vin, input) in (0..).zip(&tx.input) {
            self.spends.insert(input.previous_output, (txid, vin));
        }
        self.arrivals += 1;
        self.changes += 1;
        self.entries.insert(
            txid,
            Entry {
                tx,
                fee,
                vsize,
                coins,
                order: self.arrivals,
            },
        );
    }

    /// Removes one entry and leaves those that spend it.
    pub(super) fn remove(&mut self, txid: &Txid) -> Option<Entry> {
        let entry = self.entries.remove(txid)?;
        self.changes += 1;
        for input in &entry.tx.input {
            self.spends.remove(&input.previous_output);
        }
        Some(entry)
    }

    /// Removes an entry and all that spend it, and returns what was removed.
    pub(super) fn remove_with_descendants(&mut self, txid: &Txid) -> Vec<Txid> {
        let mut gone: Vec<Txid> = self.descendants(txid).into_iter().collect();
        gone.push(*txid);
        gone.retain(|txid| self.remove(txid).is_some());
        gone
    }

    /// The entries whose outputs a transaction spends.
    pub(super) fn parents(&self, tx: &Transaction) -> BTreeSet<Txid> {
        tx.input
            .iter()
            .map(|input| input.previous_output.txid)
            .filter(|txid| self.contains(txid))
            .collect()
    }

    /// The entries that a transaction depends on, direct and indirect.
    pub(super) fn ancestors(&self, tx: &Transaction) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Txid> = self.parents(tx).into_iter().collect();
        while let Some(txid) = open.pop() {
            if found.insert(txid) {
                open.extend(self.parents(&self.entries[&txid].tx));
            }
        }
        found
    }

    /// The entries that spend an output of an entry.
    pub(super) fn children(&self, txid: &Txid) -> BTreeSet<Txid> {
        let outputs = self.get(txid).map_or(0, |entry| entry.tx.output.len());
        (0..)
            .take(outputs)
            .filter_map(|vout| self.spender(&OutPoint { txid: *txid, vout }))
            .map(|(child, _)| child)
            .collect()
    }

    /// The entries that depend on an entry, direct and indirect.
    pub(super) fn descendants(&self, txid: &Txid) -> BTreeSet<Txid> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Txid> = self.children(txid).into_iter().collect();
        while let Some(txid) = open.pop() {
            if found.insert(txid) {
                open.extend(self.children(&txid));
            }
        }
        found
    }

    /// All transactions, parents before children, otherwise by arrival.
    pub(super) fn in_order(&self) -> Vec<Txid> {
        let mut txids: Vec<_> = self
            .entries
            .iter()
            .map(|(txid, entry)| (self.ancestors(&entry.tx).len(), entry.order, *txid))
            .collect();
        txids.sort_unstable();
        txids.into_iter().map(|(_, _, txid)| txid).collect()
    }
}
