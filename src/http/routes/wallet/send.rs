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
use crate::http::schema::lightning_send::payment_terms;
use crate::wallet;

#[derive(Deserialize, ToSchema)]
pub(super) struct SendRequest {
    /// The payee: an Ark address, or an invoice, an offer, a Lightning address or an LNURL.
    destination: String,
    /// The amount in satoshis; required unless the destination contains it.
    amount_sat: Option<AmountSat>,
    /// A message to the payee, where the destination supports one.
    comment: Option<String>,
    /// How long the server retries a Lightning payment, in seconds.
    retry_for_secs: Option<u64>,
    /// The highest fee of a Lightning payment, in satoshis; the operator's ceiling holds besides.
    max_fee_sat: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SendResponse {
    /// What happened, for a human reader.
    message: String,
    /// The id of its movement in the history.
    movement_id: u32,
    /// The payment hash of a Lightning payment, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_hash: Option<String>,
}

/// Send a payment
///
/// Answers when the payment is done; a Lightning payment, when the Ark server pays it. If that takes longer than 20 seconds the answer is 202: the payment is stored and continues in
/// the background, and must not be sent again. Its movement in the history shows the result.
#[utoipa::path(post, path = "/wallet/send", operation_id = "send", tag = "wallet", request_body = SendRequest, responses(
    (status = 200, description = "The payment was sent", body = SendResponse),
    (status = 202, description = "The payment is stored and continues in the background", body = SendResponse),
    (status = 400, description = "The destination or the amount is invalid, or the balance is too low", body = BadRequestError),
    (status = 409, description = "The Ark server refused the request", body = ConflictError),
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
    let (status, message) = if outcome.finished {
        (StatusCode::OK, "Payment sent successfully")
    } else {
        (
            StatusCode::ACCEPTED,
            "Payment accepted; it continues in the background and must not be sent again",
        )
    };
    Ok((
        status,
        Json(SendResponse {
            message: message.to_owned(),
            movement_id: outcome.movement.0,
            payment_hash: outcome.payment_hash.map(|hash| hash.to_string()),
        }),
    ))
}
