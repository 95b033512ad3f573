//! A cache of confirmed transactions, so that the chain anchor of many VTXOs is fetched once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::{Transaction, Txid};

/// How many transactions are kept. The oldest is dropped first.
const CAPACITY: usize = 512;

#[derive(Default)]
struct Entries {
    by_txid: HashMap<Txid, Arc<Transaction>>,
    oldest_first: VecDeque<Txid>,
}

/// A bounded map of transactions. A txid commits to the inputs and outputs of its transaction, so entries never become stale.
#[derive(Default)]
pub(super) struct TxCache(Mutex<Entries>);

impl TxCache {
    pub(super) fn get(&self, txid: Txid) -> Option<Arc<Transaction>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.by_txid.get(&txid).cloned()
    }

    pub(super) fn insert(&self, txid: Txid, transaction: Transaction) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries
            .by_txid
            .insert(txid, Arc::new(transaction))
            .is_some()
        {
            return;
        }
        entries.oldest_first.push_back(txid);
        if entries.oldest_first.len() > CAPACITY
            && let Some(oldest) = entries.oldest_first.pop_front()
        {
            entries.by_txid.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::{absolute::LockTime, transaction::Version};

    #[test]
    fn a_full_cache_drops_its_oldest_entry() {
        let cache = TxCache::default();
        let transaction = |n: usize| Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(u32::try_from(n).unwrap()),
            input: vec![],
            output: vec![],
        };
        for n in 0..=CAPACITY {
            cache.insert(transaction(n).compute_txid(), transaction(n));
        }
        assert!(cache.get(transaction(0).compute_txid()).is_none());
        for n in [1, CAPACITY] {
            let kept = cache.get(transaction(n).compute_txid()).unwrap();
            assert_eq!(*kept, transaction(n));
        }
    }
}
