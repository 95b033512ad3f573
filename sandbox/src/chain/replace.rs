//! Replacement of mempool transactions: the new one must pay a higher fee rate and a higher fee (full RBF).

use std::collections::BTreeSet;

use bitcoin::{Amount, FeeRate, Transaction, Txid};

use super::Reject;
use super::mempool::Mempool;
use super::standard::{fee_at, rate_of};

const SAT_PER_BTC: u64 = 100_000_000;
const MAX_REPLACED: usize = 100;

/// The entries that are removed with `conflicts`: these and their descendants.
pub(super) fn all_replaced(mempool: &Mempool, conflicts: &BTreeSet<Txid>) -> BTreeSet<Txid> {
    conflicts
        .iter()
        .flat_map(|txid| mempool.descendants(txid).into_iter().chain([*txid]))
        .collect()
}

/// The sum of the fees of some entries.
pub(super) fn fees_of(mempool: &Mempool, txids: &BTreeSet<Txid>) -> Amount {
    txids
        .iter()
        .filter_map(|txid| mempool.get(txid))
        .map(|entry| entry.fee)
        .sum()
}

/// Checks that a single transaction may replace all that it conflicts with.
pub(super) fn check_single(
    mempool: &Mempool,
    tx: &Transaction,
    (fee, vsize): (Amount, u64),
    conflicts: &BTreeSet<Txid>,
    incremental: FeeRate,
) -> Result<(), Reject> {
    let txid = tx.compute_txid();
    let rate = rate_of(fee, vsize);
    for entry in conflicts
        .iter()
        .filter_map(|conflict| mempool.get(conflict))
    {
        let old = rate_of(entry.fee, entry.vsize);
        if rate <= old {
            let per_kvb =
                |rate| format!("{}.{:08} BTC/kvB", rate / SAT_PER_BTC, rate % SAT_PER_BTC);
            let why = format!(
                "; new feerate {} <= old feerate {}",
                per_kvb(rate),
                per_kvb(old)
            );
            return Err(insufficient(txid, &why));
        }
    }
    let replaced = all_replaced(mempool, conflicts);
    check_count(&replaced)?;
    check_no_new_parents(mempool, tx, conflicts)?;
    check_pays((fee, vsize), fees_of(mempool, &replaced), incremental)
        .map_err(|why| insufficient(txid, &why))
}

/// Checks the limit on replaced entries.
pub(super) fn check_count(replaced: &BTreeSet<Txid>) -> Result<(), Reject> {
    if replaced.len() > MAX_REPLACED {
        let count = replaced.len();
        return Err(Reject::invalid(format!(
            "too many potential replacements, {count} > {MAX_REPLACED}"
        )));
    }
    Ok(())
}

/// Checks that the new fee covers the replaced fees and the relay of the new transaction.
pub(super) fn check_pays(
    (fee, vsize): (Amount, u64),
    gone: Amount,
    incremental: FeeRate,
) -> Result<(), String> {
    let Some(more) = fee.checked_sub(gone) else {
        return Err(format!(
            ", less fees than conflicting txs; {} < {}",
            money(fee),
            money(gone)
        ));
    };
    let relay = fee_at(incremental, vsize);
    if more < relay {
        return Err(format!(
            ", not enough additional fees to relay; {} < {}",
            money(more),
            money(relay)
        ));
    }
    Ok(())
}

/// An amount as a node writes it: in bitcoin, with at least two decimals.
fn money(amount: Amount) -> String {
    let (whole, part) = (amount.to_sat() / SAT_PER_BTC, amount.to_sat() % SAT_PER_BTC);
    let decimals = format!("{part:08}");
    format!("{whole}.{:0<2}", decimals.trim_end_matches('0'))
}

fn check_no_new_parents(
    mempool: &Mempool,
    tx: &Transaction,
    conflicts: &BTreeSet<Txid>,
) -> Result<(), Reject> {
    let old: BTreeSet<Txid> = conflicts
        .iter()
        .filter_map(|txid| mempool.get(txid))
        .flat_map(|entry| mempool.parents(&entry.tx))
        .collect();
    if mempool.parents(tx).is_subset(&old) {
        Ok(())
    } else {
        Err(Reject::invalid("replacement-adds-unconfirmed"))
    }
}

fn insufficient(txid: Txid, why: &str) -> Reject {
    Reject::fee(format!(
        "insufficient fee, rejecting replacement {txid}{why}"
    ))
}
