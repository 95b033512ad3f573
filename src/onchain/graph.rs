//! Unconfirmed transactions: their order, which of them are trusted, and which of them may be evicted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bdk_wallet::Wallet;
use bitcoin::{OutPoint, Transaction, Txid};

/// Seconds for which a transaction may be missing from the backend's lists before it is evicted (H26).
const EVICTION_GRACE: u64 = 30;

/// Sorts transactions so that parents come before their children.
pub(super) fn parents_first(transactions: Vec<Arc<Transaction>>) -> Vec<Arc<Transaction>> {
    let by_txid: HashMap<Txid, Arc<Transaction>> = transactions
        .into_iter()
        .map(|transaction| (transaction.compute_txid(), transaction))
        .collect();
    let mut children: HashMap<Txid, Vec<Txid>> = HashMap::new();
    let mut unsorted: HashMap<Txid, usize> = HashMap::new();
    for (txid, transaction) in &by_txid {
        let unsorted_parents: HashSet<Txid> = parents_of(transaction)
            .filter(|parent| by_txid.contains_key(parent))
            .collect();
        unsorted.insert(*txid, unsorted_parents.len());
        for parent in unsorted_parents {
            children.entry(parent).or_default().push(*txid);
        }
    }

    let mut ready: Vec<Txid> = unsorted
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(txid, _)| *txid)
        .collect();
    let mut sorted = Vec::with_capacity(by_txid.len());
    while let Some(txid) = ready.pop() {
        sorted.extend(by_txid.get(&txid).cloned());
        for child in children.remove(&txid).unwrap_or_default() {
            if let Some(count) = unsorted.get_mut(&child) {
                *count -= 1;
                if *count == 0 {
                    ready.push(child);
                }
            }
        }
    }
    sorted
}

/// The ids of the transactions that a transaction spends.
pub(super) fn parents_of(transaction: &Transaction) -> impl Iterator<Item = Txid> {
    transaction
        .input
        .iter()
        .map(|input| input.previous_output.txid)
}

/// The ids of the unconfirmed transactions that nobody else can double-spend: all their inputs are our own coins, each of them
/// confirmed or an output of another such transaction.
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
        let is_trusted = transaction.input.iter().all(|input| {
            let parent = input.previous_output.txid;
            is_mine(input.previous_output)
                && (confirmed.contains(&parent) || trusted.contains(&parent))
        });
        if is_trusted {
            trusted.insert(transaction.compute_txid());
        }
    }
    trusted
}

/// A transaction and all its unconfirmed ancestors.
pub(super) fn with_unconfirmed_ancestors(
    wallet: &Wallet,
    transaction: &Arc<Transaction>,
) -> Vec<Arc<Transaction>> {
    let mut found = vec![Arc::clone(transaction)];
    let mut seen = HashSet::new();
    let mut next = 0;
    while let Some(transaction) = found.get(next).cloned() {
        next += 1;
        for parent in parents_of(&transaction).filter(|parent| seen.insert(*parent)) {
            let parent = wallet.get_tx(parent);
            if let Some(parent) = parent.filter(|parent| !parent.chain_position.is_confirmed()) {
                found.push(Arc::clone(&parent.tx_node.tx));
            }
        }
    }
    found
}

/// Whether a transaction that the backend does not list any more may be evicted: the grace period since it was last seen is
/// over (H26), and the wallet does not broadcast it. `now` is in Unix seconds.
pub(super) fn may_evict(wallet: &Wallet, txid: Txid, now: u64) -> bool {
    wallet.get_tx(txid).is_none_or(|found| {
        let last_seen = found.tx_node.last_seen.unwrap_or(0);
        !is_ours_to_broadcast(wallet, &found.tx_node.tx) && last_seen + EVICTION_GRACE <= now
    })
}

/// Whether the wallet broadcasts a transaction until it confirms or is provably double-spent: it spends our coins. A child that
/// spends an anchor is excepted: only a package with its parent brings it back, and others may have replaced it. The exit
/// that made it submits it, and holds its coins as long.
fn is_ours_to_broadcast(wallet: &Wallet, transaction: &Transaction) -> bool {
    spends_our_coins(wallet, transaction) && !spends_anchor(transaction)
}

/// Whether the transaction pays for its parent: it spends a pay-to-anchor output, which needs neither witness nor script.
pub(super) fn spends_anchor(transaction: &Transaction) -> bool {
    let mut inputs = transaction.input.iter();
    inputs.any(|input| input.witness.is_empty() && input.script_sig.is_empty())
}

fn spends_our_coins(wallet: &Wallet, transaction: &Transaction) -> bool {
    let inputs = &transaction.input;
    inputs
        .iter()
        .any(|input| wallet.spk_index().txout(input.previous_output).is_some())
}

/// The unconfirmed transactions that the wallet broadcasts and that were last seen before `started` (Unix seconds), parents
/// first.
pub(super) fn own_unseen(wallet: &Wallet, started: u64) -> Vec<Arc<Transaction>> {
    let unseen = wallet
        .transactions()
        .filter(|found| !found.chain_position.is_confirmed())
        .filter(|found| found.tx_node.last_seen.unwrap_or(0) < started)
        .filter(|found| is_ours_to_broadcast(wallet, &found.tx_node.tx))
        .map(|found| Arc::clone(&found.tx_node.tx))
        .collect();
    parents_first(unseen)
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
