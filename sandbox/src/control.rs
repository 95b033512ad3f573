//! The control API of the sandbox: what a test or a person does to the world that a wallet lives in.
//!
//! JSON over HTTP; errors are `{"message"}`. On a real node some requests are refused (422): a node cannot be made to forget
//! or to refuse a transaction, nor be given another clock or another lowest fee rate.
//!
//! This is the half that concerns the chain and the faucet. Whoever adds another half writes a router of its own with
//! [`ControlError`] and [`Body`] and merges it.

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

/// Blocks that one request may mine.
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

/// The answer to a path that no route takes.
pub async fn unknown_path() -> ControlError {
    ControlError::new(StatusCode::NOT_FOUND, "no such path")
}

#[derive(Clone)]
struct Control {
    chain: Chain,
    faucet: Arc<CoinWallet>,
}

/// A refusal: a status and the message of its JSON body.
#[derive(Debug)]
pub struct ControlError {
    status: StatusCode,
    message: String,
}

impl ControlError {
    /// A refusal with a status that says whose fault it is.
    pub fn new(status: StatusCode, message: impl Into<String>) -> ControlError {
        ControlError {
            status,
            message: message.into(),
        }
    }

    /// The caller asked for something that makes no sense.
    pub fn bad_request(message: impl Into<String>) -> ControlError {
        ControlError::new(StatusCode::BAD_REQUEST, message)
    }
}

/// What the sandbox could not do, with the chain of reasons: it talks to developers.
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

/// A JSON request body; none at all counts as `{}`. Errors come as [`ControlError`].
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

/// The answer when there is nothing to tell: `{}`.
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
    /// Leave the mempool waiting.
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
    /// Transactions that do not come back.
    #[serde(default)]
    drop: Vec<Txid>,
    /// Transactions, as hex, that are mined in place of those that they conflict with.
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
    /// The lowest rate that the mempool relays.
    min_relay: Option<f64>,
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
    /// Seconds since 1970; without it the machine's clock counts again.
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Sandbox, SandboxHandle};

    async fn quiet() -> SandboxHandle {
        let auto_mine = AutoMine {
            on: false,
            delay: Duration::ZERO,
        };
        Sandbox {
            auto_mine,
            ..Sandbox::default()
        }
        .start()
        .await
        .unwrap()
    }

    async fn ask(sandbox: &SandboxHandle, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", sandbox.control_url);
        let client = reqwest::Client::new();
        let request = match body {
            Some(body) => client.post(url).json(&body),
            None => client.get(url),
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    #[tokio::test]
    async fn the_faucet_pays_and_mines() {
        let sandbox = quiet().await;
        let to = crate::coin_wallet::CoinKey::derive(&[1; 32], "somebody")
            .address()
            .to_string();
        let body = json!({ "address": to, "amount_sat": 100_000, "mine": true });
        let (status, answer) = ask(&sandbox, "/faucet", Some(body)).await;
        assert_eq!((status, &answer["height"]), (200, &json!(121)), "{answer}");
        let (_, tx) = ask(
            &sandbox,
            &format!("/tx/{}", answer["txid"].as_str().unwrap()),
            None,
        )
        .await;
        assert_eq!(
            (&tx["height"], &tx["confirmations"]),
            (&json!(121), &json!(1))
        );
    }

    #[tokio::test]
    async fn a_held_payment_waits_and_an_evicted_one_is_gone() {
        let sandbox = quiet().await;
        let script = sandbox.faucet.address().script_pubkey();
        let rate = FeeRate::from_sat_per_vb_u32(2);
        let txid = sandbox
            .faucet
            .pay(script, Amount::from_sat(5000), rate)
            .await
            .unwrap();
        ask(&sandbox, &format!("/tx/{txid}/hold"), Some(json!({}))).await;
        ask(&sandbox, "/mine", Some(json!({ "n": 2 }))).await;
        let (_, status) = ask(&sandbox, "/status", None).await;
        assert_eq!(status["chain"]["height"], 122);
        assert_eq!(status["chain"]["mempool"], json!([txid]));
        let (_, gone) = ask(&sandbox, &format!("/tx/{txid}/evict"), Some(json!({}))).await;
        assert_eq!(gone, json!([txid]));
        assert_eq!(ask(&sandbox, &format!("/tx/{txid}"), None).await.0, 404);
    }

    #[tokio::test]
    async fn mistakes_are_answered_with_a_message() {
        let sandbox = quiet().await;
        let mainnet = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
        let regtest = sandbox.faucet.address().to_string();
        for (path, body, status) in [
            (
                "/faucet",
                json!({ "address": mainnet, "amount_sat": 1 }),
                400,
            ),
            (
                "/faucet",
                json!({ "address": regtest, "amount_sat": 1 }),
                422,
            ),
            (
                "/faucet",
                json!({ "address": regtest, "amount_sat": u64::MAX }),
                422,
            ),
            ("/mine", json!({ "n": 1_000_000 }), 400),
            ("/mine", json!({ "blocks": 1 }), 400),
            ("/reorg", json!({ "depth": 1000 }), 422),
            ("/fees", json!({ "fast": -1 }), 400),
            ("/nowhere", json!({}), 404),
        ] {
            let (got, answer) = ask(&sandbox, path, Some(body)).await;
            assert_eq!(got, status, "{path}: {answer}");
            assert!(answer["message"].is_string(), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_reorganisation_can_drop_a_payment() {
        let sandbox = quiet().await;
        let script = sandbox.faucet.address().script_pubkey();
        let rate = FeeRate::from_sat_per_vb_u32(2);
        let txid = sandbox
            .faucet
            .pay(script, Amount::from_sat(5000), rate)
            .await
            .unwrap();
        sandbox.chain.mine(1).await.unwrap();
        let (_, answer) = ask(
            &sandbox,
            "/reorg",
            Some(json!({ "depth": 1, "drop": [txid] })),
        )
        .await;
        assert_eq!(answer["height"], 122);
        assert!(sandbox.chain.tx(txid).await.unwrap().is_none());
    }
}
