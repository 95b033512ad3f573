//! `POST /wallet/send`: pay an Ark address, or somebody over Lightning.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::lightning_send::payment_terms;
use crate::http::schema::send::{SendResponse, send_answer};
use crate::wallet;

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

/// Send a payment
///
/// A payment to an Ark address is answered when it is done, a Lightning payment when the Ark server pays the invoice;
/// `GET /lightning/sends/{identifier}` shows its end. If that takes longer than 20 seconds the answer is 202: the payment is stored and
/// continues in the background, and must not be sent again, unless with its Idempotency-Key. Its movement in the history shows the result.
#[utoipa::path(post, path = "/wallet/send", operation_id = "send", tag = "wallet", request_body = SendRequest, params(IdempotencyKey), responses(
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
    Ok(send_answer(outcome))
}
