//! Broadcasting: single transactions, and packages as a node's `submitpackage` takes them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{FeeRate, Transaction, Txid, Wtxid};
use serde::Serialize;

use super::Refusal;
use crate::chain::{Accepted, Chain, PackageOutcome, PackageTx, Reject, RejectKind};

/// The codes of a node's RPC.
const DECODE_FAILED: i32 = -22;
const VERIFY_ERROR: i32 = -25;
const VERIFY_REJECTED: i32 = -26;

/// Takes a transaction as hex and answers its id.
pub(super) async fn tx(State(chain): State<Chain>, body: String) -> Result<String, Refusal> {
    let command = "sendrawtransaction";
    let tx: Transaction = deserialize_hex(body.trim()).map_err(|_| decode_failed(command))?;
    match chain.submit(tx).await? {
        Ok(txid) => Ok(txid.to_string()),
        Err(Reject {
            kind: RejectKind::MissingInputs,
            reason,
        }) => Err(rpc_error(command, VERIFY_ERROR, &reason)),
        Err(Reject { reason, .. }) => Err(rpc_error(command, VERIFY_REJECTED, &reason)),
    }
}

/// Takes a list of transactions as hex, parents first; a success even when they were refused, unless malformed.
pub(super) async fn package(
    State(chain): State<Chain>,
    body: String,
) -> Result<Json<Outcome>, Refusal> {
    let command = "submitpackage";
    let hexes: Vec<String> = serde_json::from_str(&body)
        .map_err(|error| Refusal::bad_request(format!("Invalid JSON: {error}")))?;
    let txs: Result<Vec<Transaction>, _> = hexes.iter().map(|hex| deserialize_hex(hex)).collect();
    let outcome = chain
        .submit_package(txs.map_err(|_| decode_failed(command))?)
        .await?;
    if outcome.results.is_empty() {
        return Err(rpc_error(command, VERIFY_ERROR, &outcome.message));
    }
    Ok(Json(Outcome::from(outcome)))
}

fn decode_failed(command: &str) -> Refusal {
    rpc_error(
        command,
        DECODE_FAILED,
        "TX decode failed. Make sure the tx has at least one input.",
    )
}

fn rpc_error(command: &str, code: i32, message: &str) -> Refusal {
    let error = serde_json::json!({ "code": code, "message": message });
    Refusal::bad_request(format!("{command} RPC error: {error}"))
}

#[derive(Serialize)]
pub(super) struct Outcome {
    package_msg: String,
    #[serde(rename = "tx-results")]
    tx_results: BTreeMap<Wtxid, TxResult>,
    #[serde(rename = "replaced-transactions")]
    replaced_transactions: Vec<Txid>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TxResult {
    txid: Txid,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_wtxid: Option<Wtxid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fees: Option<Fees>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The fee in bitcoin and the rate in bitcoin per thousand virtual bytes.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Fees {
    base: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_feerate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_includes: Option<Vec<Wtxid>>,
}

impl From<PackageOutcome> for Outcome {
    fn from(outcome: PackageOutcome) -> Outcome {
        Outcome {
            package_msg: outcome.message,
            tx_results: outcome
                .results
                .into_iter()
                .map(|tx| (tx.wtxid, TxResult::from(tx)))
                .collect(),
            replaced_transactions: outcome.replaced,
        }
    }
}

impl From<PackageTx> for TxResult {
    fn from(tx: PackageTx) -> TxResult {
        let mut result = TxResult {
            txid: tx.txid,
            other_wtxid: None,
            vsize: None,
            fees: None,
            error: None,
        };
        match tx.result {
            // A node gives no further fields for a transaction that it ignored for another witness.
            Ok(Accepted {
                other_wtxid: Some(other),
                ..
            }) => result.other_wtxid = Some(other),
            Ok(accepted) => {
                let (rate, includes) = accepted.effective.unzip();
                result.vsize = Some(accepted.vsize);
                result.fees = Some(Fees {
                    base: accepted.fee.to_btc(),
                    effective_feerate: rate.map(btc_per_kvb),
                    effective_includes: includes,
                });
            }
            Err(reject) => result.error = Some(reject.reason),
        }
        result
    }
}

fn btc_per_kvb(rate: FeeRate) -> f64 {
    rate.to_sat_per_kwu() as f64 * 4.0 / 100_000_000.0
}
