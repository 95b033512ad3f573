//! The Lightning part of the control API: the world issues invoices, pays, and holds or refuses payments (docs/protocol.md §34).

use std::sync::Arc;
use std::time::Duration;

use ark_lib::lightning::{Invoice, PaymentHash};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use lightning_invoice::Bolt11Invoice;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Runs;
use super::super::control::Failure;
use super::LightningLedger;
use crate::lightning::{FailureReason, InvoiceRequest, LightningNetwork, Outcome};

/// Routes for `runs`.
pub fn router(runs: Arc<Runs>) -> Router {
    Router::new()
        .route("/ln/invoice", post(issue))
        .route("/ln/invoice/{hash}", get(show_invoice))
        .route("/ln/invoice/{hash}/outcome", post(change_outcome))
        .route("/ln/offer", post(issue_offer))
        .route("/ln/settle", post(settle))
        .route("/ln/fail", post(fail))
        .route("/ln/pay", post(pay))
        .route("/ln/pay/{hash}", get(show_hold))
        .route("/ln/node", post(set_node))
        .route("/ln/ledger", get(show_ledger))
        .route("/clock/advance", post(advance))
        .with_state(runs)
}

fn network(runs: &Runs) -> Arc<LightningNetwork> {
    runs.current().lightning.network.clone()
}

/// Lets the server do what follows from a change, so that the answer comes when it is done.
async fn done(runs: &Runs) -> Result<StatusCode, Failure> {
    let ran = runs.current().run_lightning_jobs().await;
    ran.map_err(anyhow::Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse_hash(text: &str) -> Result<PaymentHash, Failure> {
    text.parse().map_err(Failure::caller)
}

async fn issue(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<InvoiceRequest>,
) -> Result<Json<Value>, Failure> {
    let network = network(&runs);
    let invoice = network.issue(request).map_err(Failure::caller)?;
    let hash = PaymentHash::from(&invoice);
    let known = network.world_invoice(hash)?.ok_or(Failure::NotFound)?;
    Ok(Json(json!({
        "bolt11": invoice.to_string(),
        "payment_hash": hash.to_string(),
        "preimage": known.preimage.to_string(),
    })))
}

/// An invoice of the world and the payment of it, if there is one.
async fn show_invoice(
    State(runs): State<Arc<Runs>>,
    Path(hash): Path<String>,
) -> Result<Json<Value>, Failure> {
    let (network, hash) = (network(&runs), parse_hash(&hash)?);
    let known = network.world_invoice(hash)?.ok_or(Failure::NotFound)?;
    let payment = network.payment(hash)?;
    Ok(Json(json!({
        "invoice": known.invoice,
        "preimage": known.preimage.to_string(),
        "outcome": known.outcome,
        "comment": known.comment,
        "paid_msat": payment.map(|payment| payment.amount_msat),
        "payment": payment.map(|payment| payment.status),
    })))
}

async fn change_outcome(
    State(runs): State<Arc<Runs>>,
    Path(hash): Path<String>,
    Json(outcome): Json<Outcome>,
) -> Result<StatusCode, Failure> {
    network(&runs)
        .change_outcome(parse_hash(&hash)?, outcome)
        .map_err(Failure::caller)?;
    done(&runs).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferRequest {
    /// The payer chooses if absent.
    amount_msat: Option<u64>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    outcome: Outcome,
}

async fn issue_offer(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<OfferRequest>,
) -> Result<Json<Value>, Failure> {
    let offer = network(&runs)
        .issue_offer(request.amount_msat, &request.description, request.outcome)
        .map_err(Failure::caller)?;
    Ok(Json(json!({ "offer": offer.to_string() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settle {
    payment_hash: String,
}

async fn settle(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<Settle>,
) -> Result<StatusCode, Failure> {
    let hash = parse_hash(&request.payment_hash)?;
    let settled = network(&runs).settle_payment(hash);
    settled.map_err(Failure::caller)?;
    done(&runs).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    payment_hash: String,
    reason: FailureReason,
}

async fn fail(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<Fail>,
) -> Result<StatusCode, Failure> {
    let hash = parse_hash(&request.payment_hash)?;
    let failed = network(&runs).fail_payment(hash, request.reason);
    failed.map_err(Failure::caller)?;
    done(&runs).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    invoice: String,
    /// The invoice's amount if absent; up to twice as much.
    amount_msat: Option<u64>,
    /// Blocks by which the HTLCs outlive what the invoice asks for; negative for a payment that the server does not accept.
    #[serde(default)]
    cltv_extra: i32,
}

/// The world pays an invoice of a client. It gets no preimage here: the payment is held.
async fn pay(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<Pay>,
) -> Result<Json<Value>, Failure> {
    let invoice: Invoice = request.invoice.parse().map_err(Failure::caller)?;
    let invoice: Bolt11Invoice = invoice
        .into_bolt11()
        .ok_or_else(|| Failure::caller("clients have BOLT11 invoices only"))?;
    let tip = runs.current().chain.tip().await?.height;
    let lowest = network(&runs)
        .world_pays(&invoice, request.amount_msat, request.cltv_extra, tip)
        .map_err(Failure::caller)?;
    done(&runs).await?;
    Ok(Json(json!({
        "payment_hash": PaymentHash::from(&invoice).to_string(),
        "lowest_expiry": lowest,
    })))
}

async fn show_hold(
    State(runs): State<Arc<Runs>>,
    Path(hash): Path<String>,
) -> Result<Json<Value>, Failure> {
    let hash = parse_hash(&hash)?;
    let hold = network(&runs).hold(hash)?;
    let hold = hold.ok_or(Failure::NotFound)?;
    let claim = runs.current().store.claim_time(hash)?;
    Ok(Json(json!({
        "status": hold.status,
        "paid_msat": hold.paid_msat,
        "lowest_expiry": hold.lowest_expiry,
        "preimage": hold.preimage.map(|preimage| preimage.to_string()),
        "claim_ms": claim.map(|claim| claim.as_millis()),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    /// Whether the server reaches its node.
    online: Option<bool>,
    /// Whether the server hears of held payments.
    noticing: Option<bool>,
}

async fn set_node(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<Node>,
) -> Result<StatusCode, Failure> {
    let network = network(&runs);
    if let Some(online) = request.online {
        network.set_online(online);
    }
    if let Some(noticing) = request.noticing {
        network.set_noticing(noticing);
    }
    done(&runs).await
}

async fn show_ledger(State(runs): State<Arc<Runs>>) -> Result<Json<LightningLedger>, Failure> {
    Ok(Json(runs.current().lightning_ledger()?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: u64,
}

/// Lets the time pass that ends the windows of Lightning.
async fn advance(
    State(runs): State<Arc<Runs>>,
    Json(request): Json<Advance>,
) -> Result<StatusCode, Failure> {
    network(&runs)
        .clock()
        .advance(Duration::from_secs(request.seconds));
    done(&runs).await
}
