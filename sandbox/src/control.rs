//! The control API of the sandbox: how a test or a person mines, pays, reorganises and sets fees.
//!
//! JSON over HTTP; errors are `{"message"}`. On a real node some requests are refused (422): a node cannot be told to evict or
//! refuse a transaction, to use another clock, or to change its minimum relay fee.
//!
//! This module serves the routes of the chain and the faucet. The Ark server and the chain proxy have routers of their own, which
//! are merged with this one.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Address, Amount, BlockHash, FeeRate, Network, Txid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chain::{AutoMine, Chain, FeeRates, Reorg};
use super::coin_wallet::CoinWallet;

/// Maximum number of blocks that one request can mine.
const MAX_BLOCKS: u32 = 10_000;

/// The routes, relative to the base of the API.
pub fn router(chain: Chain, faucet: Arc<CoinWallet>) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/mine", post(mine))
        .route("/mine/auto", post(mine_auto))
        .route("/reorg", post(reorg))
        .route("/faucet", post(pay))
        .route("/fees", post(fees))
        .route("/time", post(time))
        .route("/reject-next", post(reject_next))
        .route("/tx/{txid}", get(tx))
        .route("/tx/{txid}/hold", post(hold).delete(unhold))
        .route("/tx/{txid}/evict", post(evict))
        .with_state(Control { chain, faucet })
}

/// The answer to an unknown path.
pub async fn unknown_path() -> ControlError {
    ControlError::new(StatusCode::NOT_FOUND, "no such path")
}

#[derive(Clone)]
struct Control {
    chain: Chain,
    faucet: Arc<CoinWallet>,
}

/// An error answer: a status and the message of its JSON body.
#[derive(Debug)]
pub struct ControlError {
    status: StatusCode,
    message: String,
}

impl ControlError {
    /// An error answer with this status and message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> ControlError {
        ControlError {
            status,
            message: message.into(),
        }
    }

    /// Status 400 with this message.
    pub fn bad_request(message: impl Into<String>) -> ControlError {
        ControlError::new(StatusCode::BAD_REQUEST, message)
    }
}

/// Status 422 with the whole chain of causes, since the callers are developers.
impl From<anyhow::Error> for ControlError {
    fn from(error: anyhow::Error) -> ControlError {
        ControlError::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}"))
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "message": self.message }))).into_response()
    }
}

/// A JSON request body; an empty body counts as `{}`. Errors are [`ControlError`]s.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ControlError> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| ControlError::new(rejection.status(), rejection.body_text()))?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes)
            .map(Body)
            .map_err(|error| ControlError::bad_request(error.to_string()))
    }
}

/// The answer without content: `{}`.
#[derive(Serialize)]
struct Done {}

async fn status(State(control): State<Control>) -> Result<Json<serde_json::Value>, ControlError> {
    let Control { chain, faucet } = control;
    let (tip, fees, auto) = (
        chain.tip().await?,
        chain.fee_rates().await?,
        chain.auto_mine().await?,
    );
    let balance = faucet.balance().await?;
    Ok(Json(json!({
        "chain": {
            "height": tip.height,
            "hash": tip.hash,
            "mempool": chain.mempool().await?,
            "auto_mine": { "on": auto.on, "delay_ms": auto.delay.as_millis() },
            "fees": { "fast": sat_per_vb(fees.fast), "regular": sat_per_vb(fees.regular), "slow": sat_per_vb(fees.slow) },
        },
        "faucet": {
            "address": faucet.address().to_string(),
            "confirmed_sat": balance.confirmed.to_sat(),
            "pending_sat": balance.pending.to_sat(),
            "immature_sat": balance.immature.to_sat(),
            "locked_sat": balance.locked.to_sat(),
        },
    })))
}

#[derive(Serialize)]
struct Mined {
    height: u32,
    /// The new blocks, oldest first.
    hashes: Vec<BlockHash>,
}

async fn mined(chain: &Chain, hashes: Vec<BlockHash>) -> Result<Json<Mined>, ControlError> {
    Ok(Json(Mined {
        height: chain.tip().await?.height,
        hashes,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mine {
    #[serde(default = "one")]
    n: u32,
    /// Mine blocks without transactions.
    #[serde(default)]
    empty: bool,
}

fn one() -> u32 {
    1
}

async fn mine(
    State(control): State<Control>,
    Body(request): Body<Mine>,
) -> Result<Json<Mined>, ControlError> {
    let Mine { n, empty } = request;
    if n > MAX_BLOCKS {
        return Err(ControlError::bad_request(format!(
            "n must be at most {MAX_BLOCKS}"
        )));
    }
    let chain = &control.chain;
    let hashes = if empty {
        chain.mine_empty(n).await?
    } else {
        chain.mine(n).await?
    };
    mined(chain, hashes).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MineAuto {
    on: bool,
    /// Unchanged unless given.
    delay_ms: Option<u64>,
}

async fn mine_auto(
    State(control): State<Control>,
    Body(request): Body<MineAuto>,
) -> Result<Json<Done>, ControlError> {
    let old = control.chain.auto_mine().await?;
    let delay = request.delay_ms.map_or(old.delay, Duration::from_millis);
    control
        .chain
        .set_auto_mine(AutoMine {
            on: request.on,
            delay,
        })
        .await?;
    Ok(Json(Done {}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReorgRequest {
    depth: u32,
    /// Transactions that are removed from the chain and the mempool.
    #[serde(default)]
    drop: Vec<Txid>,
    /// Transactions, as hex, that are mined in place of the transactions that they conflict with.
    #[serde(default)]
    replace: Vec<String>,
}

async fn reorg(
    State(control): State<Control>,
    Body(request): Body<ReorgRequest>,
) -> Result<Json<Mined>, ControlError> {
    let choice = match (request.drop.is_empty(), request.replace.is_empty()) {
        (true, true) => Reorg::Keep,
        (false, true) => Reorg::Drop(request.drop),
        (true, false) => {
            let txs: Result<_, _> = request
                .replace
                .iter()
                .map(|hex| deserialize_hex(hex))
                .collect();
            Reorg::Replace(
                txs.map_err(|error| ControlError::bad_request(format!("replace: {error}")))?,
            )
        }
        (false, false) => {
            return Err(ControlError::bad_request(
                "either drop or replace, not both",
            ));
        }
    };
    let hashes = control.chain.reorg(request.depth, choice).await?;
    mined(&control.chain, hashes).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    address: Address<NetworkUnchecked>,
    amount_sat: u64,
    /// Mine a block with the payment.
    #[serde(default)]
    mine: bool,
}

async fn pay(
    State(control): State<Control>,
    Body(request): Body<Pay>,
) -> Result<Json<serde_json::Value>, ControlError> {
    let address = request.address.require_network(Network::Regtest);
    let script = address
        .map_err(|error| ControlError::bad_request(error.to_string()))?
        .script_pubkey();
    let rate = control.chain.fee_rates().await?.regular;
    let amount = Amount::from_sat(request.amount_sat);
    let txid = control.faucet.pay(script, amount, rate).await?;
    if request.mine {
        control.chain.mine(1).await?;
    }
    Ok(Json(
        json!({ "txid": txid, "height": control.chain.tip().await?.height }),
    ))
}

/// Rates in sat/vB.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fees {
    fast: Option<f64>,
    regular: Option<f64>,
    slow: Option<f64>,
    /// Minimum relay fee rate of the mempool.
    min_relay: Option<f64>,
    /// Lowest fee rate that is mined; packages count as a whole.
    min_mined: Option<f64>,
    /// Lowest fee rate that the mempool takes while it is full. It drops what pays less.
    min_mempool: Option<f64>,
}

async fn fees(
    State(control): State<Control>,
    Body(request): Body<Fees>,
) -> Result<Json<Done>, ControlError> {
    let old = control.chain.fee_rates().await?;
    let rate = |given: Option<f64>, old: FeeRate| given.map_or(Ok(old), fee_rate);
    let rates = FeeRates {
        fast: rate(request.fast, old.fast)?,
        regular: rate(request.regular, old.regular)?,
        slow: rate(request.slow, old.slow)?,
    };
    if let Some(least) = request.min_relay.map(fee_rate).transpose()? {
        control.chain.set_min_relay_fee(least).await?;
    }
    if let Some(least) = request.min_mempool.map(fee_rate).transpose()? {
        control.chain.set_min_mempool_fee(least).await?;
    }
    if let Some(least) = request.min_mined.map(fee_rate).transpose()? {
        control.chain.set_min_mined_fee(least).await?;
    }
    control.chain.set_fee_rates(rates).await?;
    Ok(Json(Done {}))
}

fn sat_per_vb(rate: FeeRate) -> f64 {
    rate.to_sat_per_kwu() as f64 / 250.0
}

fn fee_rate(sat_per_vb: f64) -> Result<FeeRate, ControlError> {
    if !(0.0..=1_000_000.0).contains(&sat_per_vb) {
        return Err(ControlError::bad_request(
            "a fee rate is between 0 and 1000000 sat/vB",
        ));
    }
    // In range by the check above.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let sat_per_kwu = (sat_per_vb * 250.0).round() as u64;
    Ok(FeeRate::from_sat_per_kwu(sat_per_kwu))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    /// Seconds since 1970; `null` returns to the machine's clock.
    time: Option<u32>,
}

async fn time(
    State(control): State<Control>,
    Body(request): Body<Time>,
) -> Result<Json<Done>, ControlError> {
    control.chain.set_time(request.time).await?;
    Ok(Json(Done {}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RejectNext {
    reason: String,
}

async fn reject_next(
    State(control): State<Control>,
    Body(request): Body<RejectNext>,
) -> Result<Json<Done>, ControlError> {
    control.chain.reject_next(request.reason).await?;
    Ok(Json(Done {}))
}

fn parse_txid(txid: &str) -> Result<Txid, ControlError> {
    txid.parse()
        .map_err(|_| ControlError::bad_request("not a transaction id"))
}

async fn tx(
    State(control): State<Control>,
    Path(txid): Path<String>,
) -> Result<Json<serde_json::Value>, ControlError> {
    let txid = parse_txid(&txid)?;
    let Some(found) = control.chain.tx(txid).await? else {
        return Err(ControlError::new(
            StatusCode::NOT_FOUND,
            format!("transaction {txid} is not known"),
        ));
    };
    let tip = control.chain.tip().await?;
    Ok(Json(json!({
        "txid": txid,
        "height": found.block.map(|block| block.height),
        "block_hash": found.block.map(|block| block.hash),
        "confirmations": found.block.map_or(0, |block| (tip.height + 1).saturating_sub(block.height)),
        "hex": serialize_hex(&found.tx),
    })))
}

async fn hold(
    State(control): State<Control>,
    Path(txid): Path<String>,
) -> Result<Json<Done>, ControlError> {
    control.chain.hold(parse_txid(&txid)?).await?;
    Ok(Json(Done {}))
}

async fn unhold(
    State(control): State<Control>,
    Path(txid): Path<String>,
) -> Result<Json<Done>, ControlError> {
    control.chain.unhold(parse_txid(&txid)?).await?;
    Ok(Json(Done {}))
}

async fn evict(
    State(control): State<Control>,
    Path(txid): Path<String>,
) -> Result<Json<Vec<Txid>>, ControlError> {
    let gone = control.chain.evict(parse_txid(&txid)?).await?;
    if gone.is_empty() {
        return Err(ControlError::new(
            StatusCode::NOT_FOUND,
            format!("{txid} is not in the mempool"),
        ));
    }
    Ok(Json(gone))
}
