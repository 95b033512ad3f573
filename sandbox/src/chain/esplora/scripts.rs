//! What touches a script: its transactions, its unspent outputs, and sums over both.
//!
//! A script is named by the hash of its bytes or, where it has one, by its address.

use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use bitcoin::hashes::sha256;
use bitcoin::{Address, Amount, Network, Txid};
use serde::Serialize;

use super::json::{Status, Tx};
use super::{Refusal, parse};
use crate::chain::Chain;
use crate::chain::ledger::script_hash;
use crate::chain::view::View;

const MEMPOOL_PER_PAGE: usize = 50;
const CHAIN_PER_PAGE: usize = 25;

/// The hash of the script in a path.
fn find(script: &str) -> Result<sha256::Hash, Refusal> {
    if let Ok(hash) = sha256::Hash::from_str(script) {
        return Ok(hash);
    }
    let address = Address::from_str(script)
        .ok()
        .and_then(|address| address.require_network(Network::Regtest).ok());
    let address = address.ok_or_else(|| Refusal::bad_request("Invalid Bitcoin address"))?;
    Ok(script_hash(&address.script_pubkey()))
}

fn waiting(view: &View, script: &sha256::Hash) -> Vec<Tx> {
    let txids = view.mempool.history(script);
    txids
        .iter()
        .take(MEMPOOL_PER_PAGE)
        .filter_map(|txid| Tx::of(view, txid))
        .collect()
}

/// A page of confirmed transactions, newest first, that starts after `last`; empty when that is not in the list.
fn confirmed(view: &View, script: &sha256::Hash, last: Option<Txid>) -> Vec<Tx> {
    let newest_first = view.ledger.history(script).iter().rev();
    let from = last.map_or(Some(0), |last| {
        Some(newest_first.clone().position(|txid| *txid == last)? + 1)
    });
    let Some(from) = from else { return Vec::new() };
    newest_first
        .skip(from)
        .take(CHAIN_PER_PAGE)
        .filter_map(|txid| Tx::of(view, txid))
        .collect()
}

pub(super) async fn first_page(
    State(chain): State<Chain>,
    Path(script): Path<String>,
) -> Result<Json<Vec<Tx>>, Refusal> {
    let script = find(&script)?;
    let view = chain.read();
    let mut page = waiting(&view, &script);
    page.extend(confirmed(&view, &script, None));
    Ok(Json(page))
}

pub(super) async fn mempool_page(
    State(chain): State<Chain>,
    Path(script): Path<String>,
) -> Result<Json<Vec<Tx>>, Refusal> {
    Ok(Json(waiting(&chain.read(), &find(&script)?)))
}

pub(super) async fn first_chain_page(
    State(chain): State<Chain>,
    Path(script): Path<String>,
) -> Result<Json<Vec<Tx>>, Refusal> {
    Ok(Json(confirmed(&chain.read(), &find(&script)?, None)))
}

pub(super) async fn next_chain_page(
    State(chain): State<Chain>,
    Path((script, last)): Path<(String, String)>,
) -> Result<Json<Vec<Tx>>, Refusal> {
    let last = parse(&last, "hex string")?;
    Ok(Json(confirmed(&chain.read(), &find(&script)?, Some(last))))
}

#[derive(Serialize)]
pub(super) struct Utxo {
    txid: Txid,
    vout: u32,
    status: Status,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    value: Amount,
}

pub(super) async fn utxos(
    State(chain): State<Chain>,
    Path(script): Path<String>,
) -> Result<Json<Vec<Utxo>>, Refusal> {
    let script = find(&script)?;
    let view = chain.read();
    let utxo = |coin: crate::chain::Unspent| Utxo {
        txid: coin.outpoint.txid,
        vout: coin.outpoint.vout,
        status: Status::new(
            &view,
            coin.height.and_then(|height| view.ledger.tip_at(height)),
        ),
        value: coin.output.value,
    };
    Ok(Json(view.unspent(&script).into_iter().map(utxo).collect()))
}

#[derive(Serialize, Default)]
struct Sums {
    tx_count: usize,
    funded_txo_count: u32,
    funded_txo_sum: u64,
    spent_txo_count: u32,
    spent_txo_sum: u64,
}

impl Sums {
    fn over(view: &View, script: &sha256::Hash, txids: &[Txid]) -> Sums {
        let mut sums = Sums {
            tx_count: txids.len(),
            ..Sums::default()
        };
        for txid in txids {
            let outputs = view.tx(txid).map_or(&[][..], |tx| &tx.output);
            for output in outputs
                .iter()
                .filter(|output| script_hash(&output.script_pubkey) == *script)
            {
                sums.funded_txo_count += 1;
                sums.funded_txo_sum += output.value.to_sat();
            }
            for output in view
                .spent_by(txid)
                .iter()
                .filter(|output| script_hash(&output.script_pubkey) == *script)
            {
                sums.spent_txo_count += 1;
                sums.spent_txo_sum += output.value.to_sat();
            }
        }
        sums
    }
}

#[derive(Serialize)]
pub(super) struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scripthash: Option<String>,
    chain_stats: Sums,
    mempool_stats: Sums,
}

pub(super) async fn stats(
    State(chain): State<Chain>,
    Path(script): Path<String>,
) -> Result<Json<Stats>, Refusal> {
    let hash = find(&script)?;
    let view = chain.read();
    let is_hash = script == hash.to_string();
    Ok(Json(Stats {
        address: (!is_hash).then(|| script.clone()),
        scripthash: is_hash.then_some(script),
        chain_stats: Sums::over(&view, &hash, view.ledger.history(&hash)),
        mempool_stats: Sums::over(&view, &hash, &view.mempool.history(&hash)),
    }))
}
