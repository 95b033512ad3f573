//! The Ark server's part of the control API: faults, restart, rounds and inspection as JSON over HTTP (docs/protocol.md §33.7).

use std::sync::Arc;

use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use server_rpc::TryFromBytes;
use server_rpc::protos::mailbox_server::mailbox_message::Message;

use super::Runs;
use super::faults::Fault;
use super::round::RoundConfigChange;
use super::store::VtxoRecord;

/// Routes for `runs`.
pub fn router(runs: Arc<Runs>) -> Router {
    Router::new()
        .route("/faults", post(add_fault).get(list_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/vtxo/{id}", get(show_vtxo))
        .route("/mailbox/{id}", get(show_mailbox))
        .route("/ledger", get(show_ledger))
        .route("/calls", get(show_calls))
        .route("/restart", post(restart))
        .route("/round/trigger", post(trigger_round))
        .route("/round/config", post(configure_rounds))
        .with_state(runs)
}

async fn add_fault(
    State(runs): State<Arc<Runs>>,
    Json(fault): Json<Fault>,
) -> Result<Json<Value>, Failure> {
    let id = runs.current().faults.add(fault).map_err(Failure::caller)?;
    Ok(Json(json!({ "id": id })))
}

async fn list_faults(State(runs): State<Arc<Runs>>) -> Json<Value> {
    Json(json!(runs.current().faults.active()))
}

async fn remove_fault(State(runs): State<Arc<Runs>>, Path(id): Path<u64>) -> StatusCode {
    if runs.current().faults.remove(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

async fn show_vtxo(
    State(runs): State<Arc<Runs>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let id: VtxoId = id.parse().map_err(Failure::caller)?;
    let record = runs.current().store.vtxo(id)?.ok_or(Failure::NotFound)?;
    Ok(Json(describe(&record)))
}

fn describe(record: &VtxoRecord) -> Value {
    let vtxo = &record.vtxo;
    json!({
        "id": vtxo.id().to_string(),
        "state": record.state.to_string(),
        "amount_sat": vtxo.amount().to_sat(),
        "policy": vtxo.policy_type().to_string(),
        "user_pubkey": vtxo.user_pubkey().to_string(),
        "expiry_height": vtxo.expiry_height().to_u32(),
        "exit_depth": vtxo.exit_depth(),
        "anchor": vtxo.chain_anchor().to_string(),
        "signed": vtxo.has_all_witnesses(),
        "spent_by": record.spent_by.map(|txid| txid.to_string()),
        "exited_height": record.exited_height,
    })
}

async fn show_mailbox(
    State(runs): State<Arc<Runs>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let mailbox: MailboxIdentifier = id.parse().map_err(Failure::caller)?;
    let page = runs.current().store.read_mailbox(mailbox, 0, u32::MAX)?;
    let messages: Vec<Value> = page
        .messages
        .into_iter()
        .map(|message| {
            let (kind, vtxos) = match message.message {
                Some(Message::Arkoor(arkoor)) => (
                    "arkoor",
                    ids(arkoor
                        .vtxos
                        .iter()
                        .map(|bytes| Vtxo::<Full>::from_bytes(bytes).map(|vtxo| vtxo.id()))),
                ),
                Some(Message::RecoveryVtxoIds(recovery)) => (
                    "recovery",
                    ids(recovery.vtxo_ids.iter().map(VtxoId::from_bytes)),
                ),
                Some(Message::RoundParticipationCompleted(_)) => ("round", vec![]),
                Some(Message::IncomingLightningPayment(_)) => ("incoming", vec![]),
                Some(Message::LightningSendFinished(_)) => ("send-finished", vec![]),
                _ => ("other", vec![]),
            };
            json!({ "checkpoint": message.checkpoint, "kind": kind, "vtxos": vtxos })
        })
        .collect();
    Ok(Json(json!(messages)))
}

fn ids<E>(decoded: impl Iterator<Item = Result<VtxoId, E>>) -> Vec<String> {
    decoded.flatten().map(|id| id.to_string()).collect()
}

async fn show_ledger(State(runs): State<Arc<Runs>>) -> Result<Json<Value>, Failure> {
    Ok(Json(json!(runs.current().store.ledger()?)))
}

async fn show_calls(State(runs): State<Arc<Runs>>) -> Json<Value> {
    Json(json!(runs.current().faults.calls()))
}

async fn restart(State(runs): State<Arc<Runs>>) -> StatusCode {
    runs.restart().await;
    StatusCode::NO_CONTENT
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    /// Answer when the round has ended, with its result.
    #[serde(default)]
    wait: bool,
}

async fn trigger_round(
    State(runs): State<Arc<Runs>>,
    trigger: Option<Json<Trigger>>,
) -> Result<Response, Failure> {
    let Json(Trigger { wait }) = trigger.unwrap_or_default();
    if wait {
        let outcome = runs.current().trigger_round().await?;
        return Ok(Json(outcome).into_response());
    }
    runs.current().start_round();
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn configure_rounds(
    State(runs): State<Arc<Runs>>,
    Json(change): Json<RoundConfigChange>,
) -> Result<StatusCode, Failure> {
    runs.current()
        .change_round_config(change)
        .map_err(Failure::caller)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why a control request failed.
pub(super) enum Failure {
    Caller(String),
    NotFound,
    Server(anyhow::Error),
}

impl Failure {
    pub(super) fn caller(error: impl ToString) -> Failure {
        Failure::Caller(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Server(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Failure::Caller(message) => (StatusCode::BAD_REQUEST, message),
            Failure::NotFound => (StatusCode::NOT_FOUND, "not found".to_owned()),
            Failure::Server(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        };
        (status, Json(json!({ "message": message }))).into_response()
    }
}
