//! The mempool and the fee estimates.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use bitcoin::{FeeRate, Txid};
use serde::Serialize;

use super::Refusal;
use crate::chain::Chain;
use crate::chain::mempool::Entry;

const RECENT: usize = 10;

#[derive(Serialize)]
pub(super) struct Stats {
    count: usize,
    vsize: u64,
    total_fee: u64,
    fee_histogram: Vec<(f64, u64)>,
}

/// The histogram has one bar for each transaction, from the highest rate down.
pub(super) async fn stats(State(chain): State<Chain>) -> Json<Stats> {
    let view = chain.read();
    let entries: Vec<&Entry> = view.mempool.iter().map(|(_, entry)| entry).collect();
    let rate = |entry: &Entry| entry.fee.to_sat() as f64 / entry.vsize as f64;
    let mut fee_histogram: Vec<(f64, u64)> = entries
        .iter()
        .map(|entry| (rate(entry), entry.vsize))
        .collect();
    fee_histogram.sort_by(|one, other| other.0.total_cmp(&one.0));
    Json(Stats {
        count: entries.len(),
        vsize: entries.iter().map(|entry| entry.vsize).sum(),
        total_fee: entries.iter().map(|entry| entry.fee.to_sat()).sum(),
        fee_histogram,
    })
}

pub(super) async fn txids(State(chain): State<Chain>) -> Json<Vec<Txid>> {
    Json(chain.read().mempool.in_order())
}

#[derive(Serialize)]
pub(super) struct Recent {
    txid: Txid,
    fee: u64,
    vsize: u64,
    value: u64,
}

pub(super) async fn recent(State(chain): State<Chain>) -> Json<Vec<Recent>> {
    let view = chain.read();
    let mut entries: Vec<_> = view.mempool.iter().collect();
    entries.sort_by_key(|(_, entry)| Reverse(entry.order));
    let recent = |(txid, entry): (&Txid, &Entry)| Recent {
        txid: *txid,
        fee: entry.fee.to_sat(),
        vsize: entry.vsize,
        value: entry
            .tx
            .output
            .iter()
            .map(|output| output.value.to_sat())
            .sum(),
    };
    Json(entries.into_iter().take(RECENT).map(recent).collect())
}

/// Confirmation targets in blocks, with their rates in sat/vB.
pub(super) async fn fee_estimates(
    State(chain): State<Chain>,
) -> Result<Json<BTreeMap<u16, f64>>, Refusal> {
    let rates = chain.fee_rates().await?;
    let rate = |target| match target {
        1 => rates.fast,
        2..=3 => rates.regular,
        _ => rates.slow,
    };
    let per_vb = |rate: FeeRate| rate.to_sat_per_kwu() as f64 / 250.0;
    Ok(Json(
        (1..=25)
            .chain([144, 504, 1008])
            .map(|target| (target, per_vb(rate(target))))
            .collect(),
    ))
}
