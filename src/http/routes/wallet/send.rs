//! `POST /wallet/send`: pay an Ark address, or somebody over Lightning.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::lightning_send::{payment_status, payment_terms};
use crate::wallet::{self, SendOutcome};

#[derive(Deserialize, ToSchema)]
pub(super) struct SendRequest {
    /// The payee: an Ark address, a BOLT11 invoice, a BOLT12 offer, a Lightning address, an LNURL, or a `bitcoin:` URI with one of
    /// these.
    destination: String,
    /// The amount in satoshis; required unless the destination contains it.
    amount_sat: Option<AmountSat>,
    /// A message to the payee, where the destination supports one: a Lightning address or LNURL. An Ark payment leaves it out.
    comment: Option<String>,
    /// How long the Ark server retries a Lightning payment, in seconds; 0 for a single try.
    retry_for_secs: Option<u64>,
    /// The highest fee of a Lightning payment, in satoshis; the operator's ceiling holds besides.
    max_fee_sat: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SendResponse {
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

/// Send a payment
///
/// A payment to an Ark address is answered when it is done, a Lightning payment when the Ark server pays the invoice;
/// `GET /lightning/sends/{identifier}` shows its end. If that takes longer than 20 seconds the answer is 202: the payment is stored and
/// continues in the background, and must not be sent again. Its movement in the history shows the result.
#[utoipa::path(post, path = "/wallet/send", operation_id = "send", tag = "wallet", request_body = SendRequest, responses(
    (status = 200, description = "The payment was sent", body = SendResponse),
    (status = 202, description = "The payment is stored and continues in the background", body = SendResponse),
    (status = 400, description = "The destination or the amount is invalid, the payee gave no invoice, or the balance is too low", body = BadRequestError),
    (status = 409, description = "The Ark server refused the request, the payment failed, or the fee is too high; nothing was paid", body = ConflictError),
    (status = 503, description = "The Ark server is unreachable; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn send(
    State(app): State<App>,
    Json(request): Json<SendRequest>,
) -> Result<(StatusCode, Json<SendResponse>), ApiError> {
    let wallet = app.wallet()?;
    let request = wallet::SendRequest {
        amount: request.amount_sat.map(AmountSat::check).transpose()?,
        destination: request.destination,
        comment: request.comment,
        terms: payment_terms(request.retry_for_secs, request.max_fee_sat),
    };
    let outcome = detached(async move { wallet.send(request).await }).await?;
    Ok(answer(outcome))
}

fn answer(outcome: SendOutcome) -> (StatusCode, Json<SendResponse>) {
    match outcome {
        SendOutcome::Ark { movement, finished } => {
            let (status, message) = if finished {
                (StatusCode::OK, "Payment sent successfully")
            } else {
                (
                    StatusCode::ACCEPTED,
                    "Payment accepted; it continues in the background and must not be sent again",
                )
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
