//! The part of the control API about outputs that are on chain.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Runs;
use super::super::control::Failure;
use super::config::{WatchmanChange, WatchmanConfig};

/// Routes for `runs`.
pub fn router(runs: Arc<Runs>) -> Router {
    Router::new()
        .route("/watchman", get(show).post(configure))
        .route("/watchman/run", post(run))
        .with_state(runs)
}

async fn show(State(runs): State<Arc<Runs>>) -> Json<WatchmanConfig> {
    Json(*runs.current().watchman())
}

async fn configure(
    State(runs): State<Arc<Runs>>,
    Json(change): Json<WatchmanChange>,
) -> StatusCode {
    runs.current().watchman().apply(change);
    StatusCode::NO_CONTENT
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// Sweep what has expired, too.
    #[serde(default)]
    sweeps: bool,
}

/// Reacts at once, whether or not the reactions are switched on.
async fn run(
    State(runs): State<Arc<Runs>>,
    request: Option<Json<Run>>,
) -> Result<Json<Value>, Failure> {
    let Json(Run { sweeps }) = request.unwrap_or_default();
    let sent = runs.current().run_watchman(sweeps).await;
    Ok(Json(json!({ "txids": sent.map_err(anyhow::Error::from)? })))
}
