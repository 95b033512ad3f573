//! The rules for transactions of version 3 (BIP431): a parent and one small child, so that the child can always raise
//! the fee.

use std::collections::BTreeSet;

use bitcoin::{Transaction, Txid, transaction};

use super::Reject;
use super::mempool::Mempool;

const MAX_VSIZE: u64 = 10_000;
const MAX_CHILD_VSIZE: u64 = 1_000;

/// Whether the rules of this module apply to a transaction.
pub(super) fn applies(tx: &Transaction) -> bool {
    tx.version == transaction::Version(3)
}

/// A transaction to be checked.
pub(super) struct Subject<'a> {
    pub(super) tx: &'a Transaction,
    pub(super) vsize: u64,
    /// What it depends on in the mempool.
    pub(super) ancestors: &'a BTreeSet<Txid>,
    /// The entries that it would replace because they spend the same outputs.
    pub(super) conflicts: &'a BTreeSet<Txid>,
}

/// The result of the check of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It keeps all rules.
    Fits,
    /// It would be the second child of its parent, but may replace this first one if it pays for that.
    Evicts(Txid),
}

/// Checks a transaction against what it spends in the mempool.
pub(super) fn check(mempool: &Mempool, subject: &Subject<'_>) -> Result<Verdict, Reject> {
    let Subject {
        tx,
        vsize,
        ancestors,
        conflicts,
    } = subject;
    for ancestor in *ancestors {
        if let Some(entry) = mempool.get(ancestor) {
            check_inheritance(tx, &entry.tx)?;
        }
    }
    if !applies(tx) {
        return Ok(Verdict::Fits);
    }
    check_size(tx, *vsize, !ancestors.is_empty())?;
    if ancestors.len() > 1 {
        return Err(violation(format!(
            "tx {} would have too many ancestors",
            name(tx)
        )));
    }
    let Some(parent) = ancestors.first() else {
        return Ok(Verdict::Fits);
    };
    let children = mempool.children(parent);
    if children.is_empty() || !children.is_disjoint(conflicts) {
        return Ok(Verdict::Fits);
    }
    // After a reorganisation a parent can have more children than the rules allow; then none of them is replaced.
    match (children.first(), mempool.descendants(parent).len()) {
        (Some(sibling), 1)
            if mempool
                .get(sibling)
                .is_some_and(|entry| mempool.ancestors(&entry.tx).len() == 1) =>
        {
            Ok(Verdict::Evicts(*sibling))
        }
        _ => {
            let parent = mempool
                .get(parent)
                .map_or_else(|| parent.to_string(), |entry| name(&entry.tx));
            Err(violation(format!(
                "tx {parent} would exceed descendant count limit"
            )))
        }
    }
}

/// Checks the child of a package against parents that are still outside the mempool.
pub(super) fn check_child(
    child: &Transaction,
    vsize: u64,
    parents: &[&Transaction],
) -> Result<(), Reject> {
    for parent in parents {
        check_inheritance(child, parent)?;
    }
    if !applies(child) {
        return Ok(());
    }
    check_size(child, vsize, true)?;
    if parents.len() > 1 {
        return Err(violation(format!(
            "tx {} would have too many ancestors",
            name(child)
        )));
    }
    Ok(())
}

fn check_inheritance(tx: &Transaction, parent: &Transaction) -> Result<(), Reject> {
    match (applies(tx), applies(parent)) {
        (true, false) => Err(violation(format!(
            "version=3 tx {} cannot spend from non-version=3 tx {}",
            name(tx),
            name(parent)
        ))),
        (false, true) => Err(violation(format!(
            "non-version=3 tx {} cannot spend from version=3 tx {}",
            name(tx),
            name(parent)
        ))),
        _ => Ok(()),
    }
}

fn check_size(tx: &Transaction, vsize: u64, is_child: bool) -> Result<(), Reject> {
    let (what, limit) = if is_child {
        ("child tx", MAX_CHILD_VSIZE)
    } else {
        ("tx", MAX_VSIZE)
    };
    if vsize > limit {
        let name = name(tx);
        return Err(violation(format!(
            "version=3 {what} {name} is too big: {vsize} > {limit} virtual bytes"
        )));
    }
    Ok(())
}

/// A transaction as a node names it in these messages.
pub(super) fn name(tx: &Transaction) -> String {
    format!("{} (wtxid={})", tx.compute_txid(), tx.compute_wtxid())
}

fn violation(detail: String) -> Reject {
    Reject::invalid(format!("TRUC-violation, {detail}"))
}
