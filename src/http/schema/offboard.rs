//! Offboards.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::extract::Json;
use crate::wallet::OffboardOutcome;

/// An on-chain payment from VTXOs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct OffboardResult {
    /// The id of the transaction.
    offboard_txid: String,
    /// The id of its movement in the history.
    movement_id: u32,
}

/// 200 when the transaction was broadcast, 202 when it is signed and the broadcast follows in the background.
pub(in crate::http) fn offboard_answer(
    outcome: OffboardOutcome,
) -> (StatusCode, Json<OffboardResult>) {
    let status = if outcome.finished {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let result = OffboardResult {
        offboard_txid: outcome.txid.to_string(),
        movement_id: outcome.movement.0,
    };
    (status, Json(result))
}
