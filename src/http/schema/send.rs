//! Payments to an Ark address or over Lightning.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::lightning_send::{CONTINUES, payment_status};
use crate::http::extract::Json;
use crate::wallet::SendOutcome;

/// A payment that was accepted.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SendResponse {
    /// What happened, for a human reader.
    message: &'static str,
    /// The id of its movement in the history.
    movement_id: u32,
    /// The payment hash of a Lightning payment, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_hash: Option<String>,
    /// How far a Lightning payment is, as in `GET /lightning/sends/{identifier}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// The preimage of a Lightning payment, hex, which proves it; missing until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    preimage: Option<String>,
}

/// 200 when the payee has the payment, or when the server pays over Lightning; 202 when the payment continues in the background.
pub(in crate::http) fn send_answer(outcome: SendOutcome) -> (StatusCode, Json<SendResponse>) {
    match outcome {
        SendOutcome::Ark { movement, finished } => {
            let (status, message) = if finished {
                (StatusCode::OK, "Payment sent successfully")
            } else {
                (StatusCode::ACCEPTED, CONTINUES)
            };
            let response = SendResponse {
                message,
                movement_id: movement.0,
                payment_hash: None,
                state: None,
                preimage: None,
            };
            (status, Json(response))
        }
        SendOutcome::Lightning(paid) => {
            let (status, message) = payment_status(&paid);
            let response = SendResponse {
                message,
                movement_id: paid.movement.0,
                payment_hash: Some(paid.payment_hash.to_string()),
                state: Some(paid.state.name()),
                preimage: paid.preimage.map(|preimage| preimage.to_string()),
            };
            (status, Json(response))
        }
    }
}
