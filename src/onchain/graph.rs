//! Unconfirmed transactions: their order, and which of them are certain enough to build on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bdk_wallet::Wallet;
use bitcoin::{OutPoint, Transaction, Txid};

/// Sorts transactions so that each comes after those it spends.
pub(super) fn parents_first(transactions: Vec<Arc<Transaction>>) -> Vec<Arc<Transaction>> {
    let by_txid: HashMap<Txid, Arc<Transaction>> = transactions
        .into_iter()
        .map(|transaction| (transaction.compute_txid(), transaction))
        .collect();
    let mut children: HashMap<Txid, Vec<Txid>> = HashMap::new();
    let mut parents: HashMap<Txid, usize> = HashMap::new();
    for (txid, transaction) in &by_txid {
        let unsorted: HashSet<Txid> = parents_of(transaction)
            .filter(|parent| by_txid.contains_key(parent))
            .collect();
        parents.insert(*txid, unsorted.len());
        for parent in unsorted {
            children.entry(parent).or_default().push(*txid);
        }
    }

    let mut ready: Vec<Txid> = parents
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(txid, _)| *txid)
        .collect();
    let mut sorted = Vec::with_capacity(by_txid.len());
    while let Some(txid) = ready.pop() {
        sorted.extend(by_txid.get(&txid).cloned());
        for child in children.remove(&txid).unwrap_or_default() {
            if let Some(count) = parents.get_mut(&child) {
                *count -= 1;
                if *count == 0 {
                    ready.push(child);
                }
            }
        }
    }
    sorted
}

pub(super) fn parents_of(transaction: &Transaction) -> impl Iterator<Item = Txid> {
    transaction
        .input
        .iter()
        .map(|input| input.previous_output.txid)
}

/// The unconfirmed transactions of ours that nobody else can undo: they spend nothing but our own coins, and these are
/// confirmed or come from such a transaction themselves.
pub(super) fn trusted_unconfirmed(wallet: &Wallet) -> HashSet<Txid> {
    let mut confirmed = HashSet::new();
    let mut unconfirmed = Vec::new();
    for found in wallet.transactions() {
        if found.chain_position.is_confirmed() {
            confirmed.insert(found.tx_node.txid);
        } else {
            unconfirmed.push(Arc::clone(&found.tx_node.tx));
        }
    }

    let is_mine = |outpoint: OutPoint| wallet.spk_index().txout(outpoint).is_some();
    let mut trusted = HashSet::new();
    for transaction in parents_first(unconfirmed) {
        let certain = transaction.input.iter().all(|input| {
            let parent = input.previous_output.txid;
            is_mine(input.previous_output)
                && (confirmed.contains(&parent) || trusted.contains(&parent))
        });
        if certain {
            trusted.insert(transaction.compute_txid());
        }
    }
    trusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{ScriptBuf, Sequence, TxIn, Witness};

    fn spending(parents: &[Txid]) -> Arc<Transaction> {
        let input = parents
            .iter()
            .map(|txid| TxIn {
                previous_output: OutPoint::new(*txid, 0),
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            })
            .collect();
        Arc::new(Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input,
            output: vec![],
        })
    }

    #[test]
    fn parents_come_before_their_children() {
        let first = spending(&[]);
        let second = spending(&[first.compute_txid()]);
        let third = spending(&[
            second.compute_txid(),
            second.compute_txid(),
            first.compute_txid(),
        ]);
        let sorted = parents_first(vec![
            Arc::clone(&third),
            Arc::clone(&first),
            Arc::clone(&second),
        ]);
        assert_eq!(sorted, [first, second, third]);
    }
}
