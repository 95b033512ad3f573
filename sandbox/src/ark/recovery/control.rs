//! The part of the control API about recovery.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

use super::super::Runs;

/// Routes for `runs`.
pub fn router(runs: Arc<Runs>) -> Router {
    Router::new()
        .route("/recovery", post(configure))
        .with_state(runs)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Whether the server has the calls of this module. Without them it answers `Unimplemented`, as real servers before 0.8.
    calls: bool,
}

async fn configure(State(runs): State<Arc<Runs>>, Json(change): Json<Change>) -> StatusCode {
    runs.current().recovery_calls.set(change.calls);
    StatusCode::NO_CONTENT
}
