//! Broadcasting through a real node.

use std::collections::HashMap;

use anyhow::Context;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, FeeRate, Transaction, Txid, Wtxid};
use serde::Deserialize;
use serde_json::json;

use super::Node;
use super::rpc::RpcError;
use crate::chain::{Accepted, PackageOutcome, PackageTx, Reject, RejectKind};

/// Codes of the node's RPC that a transaction can be refused with.
const DECODE_FAILED: i32 = -22;
const VERIFY_ERROR: i32 = -25;
const VERIFY_REJECTED: i32 = -26;
const ALREADY_IN_CHAIN: i32 = -27;
/// The same for a package that is malformed as a whole.
const INVALID_PARAMETER: i32 = -8;

/// The node's answer to `submitpackage`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    #[serde(rename = "package_msg")]
    message: String,
    tx_results: HashMap<Wtxid, TxAnswer>,
    #[serde(default)]
    replaced_transactions: Vec<Txid>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TxAnswer {
    other_wtxid: Option<Wtxid>,
    vsize: Option<u64>,
    fees: Option<Fees>,
    error: Option<String>,
}

/// The fee in bitcoin and the rate in bitcoin per thousand virtual bytes.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fees {
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    base: Amount,
    effective_feerate: Option<f64>,
    #[serde(default)]
    effective_includes: Vec<Wtxid>,
}

impl Node {
    pub(in crate::chain) async fn submit(
        &self,
        tx: &Transaction,
    ) -> anyhow::Result<Result<Txid, Reject>> {
        let txid = tx.compute_txid();
        if self.view().tx(&txid).is_some() {
            return Ok(Ok(txid));
        }
        let params = json!([serialize_hex(tx)]);
        match self.rpc.try_call("sendrawtransaction", params).await? {
            Ok(_) => Ok(Ok(txid)),
            Err(error) if error.code == ALREADY_IN_CHAIN => Ok(Ok(txid)),
            Err(error) => refusal(error).map(Err),
        }
    }

    pub(in crate::chain) async fn submit_package(
        &self,
        txs: &[Transaction],
    ) -> anyhow::Result<PackageOutcome> {
        let hexes: Vec<String> = txs.iter().map(serialize_hex).collect();
        let answer = match self.rpc.try_call("submitpackage", json!([hexes])).await? {
            Ok(answer) => answer,
            Err(error) => {
                let reject = refusal(error)?;
                return Ok(PackageOutcome {
                    message: reject.reason,
                    results: Vec::new(),
                    replaced: Vec::new(),
                });
            }
        };
        let answer: Answer =
            serde_json::from_value(answer).context("the node's answer to submitpackage")?;
        let result = |tx: &Transaction| {
            let wtxid = tx.compute_wtxid();
            let told = answer.tx_results.get(&wtxid).cloned();
            PackageTx {
                txid: tx.compute_txid(),
                wtxid,
                result: told.map_or_else(|| Err(Reject::not_validated()), |told| told.outcome(tx)),
            }
        };
        let results = txs.iter().map(result).collect();
        Ok(PackageOutcome {
            message: answer.message,
            results,
            replaced: answer.replaced_transactions,
        })
    }
}

impl TxAnswer {
    fn outcome(self, tx: &Transaction) -> Result<Accepted, Reject> {
        if let Some(reason) = self.error {
            let kind = kind_of(&reason);
            return Err(Reject { kind, reason });
        }
        let vsize = self.vsize.unwrap_or_else(|| tx.vsize() as u64);
        let fee = self.fees.as_ref().map_or(Amount::ZERO, |fees| fees.base);
        let effective = self.fees.and_then(|fees| {
            let rate = rate_of_btc_per_kvb(fees.effective_feerate?)?;
            Some((rate, fees.effective_includes))
        });
        Ok(Accepted {
            vsize,
            fee,
            effective,
            other_wtxid: self.other_wtxid,
        })
    }
}

/// What a transaction is refused with, unless the node means something else.
fn refusal(error: RpcError) -> anyhow::Result<Reject> {
    match error.code {
        DECODE_FAILED | VERIFY_ERROR | VERIFY_REJECTED | INVALID_PARAMETER => Ok(Reject {
            kind: kind_of(&error.message),
            reason: error.message,
        }),
        _ => Err(error).context("the node does not take transactions"),
    }
}

fn kind_of(reason: &str) -> RejectKind {
    let starts = |start: &&str| reason.starts_with(start);
    if ["bad-txns-inputs-missingorspent", "missing-inputs"]
        .iter()
        .any(starts)
    {
        RejectKind::MissingInputs
    } else if [
        "min relay fee not met",
        "mempool min fee not met",
        "insufficient fee",
    ]
    .iter()
    .any(starts)
    {
        RejectKind::Fee
    } else {
        RejectKind::Invalid
    }
}

/// A rate as the node gives it; `None` if it is not one.
pub(super) fn rate_of_btc_per_kvb(rate: f64) -> Option<FeeRate> {
    let per_kvb = Amount::from_btc(rate).ok()?;
    Some(FeeRate::from_sat_per_kwu(per_kvb.to_sat() / 4))
}
