//! `POST /lightning/pay`: pay over Lightning.

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
use crate::http::schema::lightning_send::{LightningPayResponse, payment_answer, payment_terms};

#[derive(Deserialize, ToSchema)]
pub(super) struct LightningPayRequest {
    /// The payee: an invoice, an offer, a Lightning address or an LNURL.
    destination: String,
    /// The amount in satoshis; required unless the destination contains it.
    amount_sat: Option<AmountSat>,
    /// A message to the payee, where the destination supports one.
    comment: Option<String>,
    /// How long the Ark server retries the payment, in seconds; 0 for a single try.
    retry_for_secs: Option<u64>,
    /// The highest fee, in satoshis; the operator's ceiling holds besides.
    max_fee_sat: Option<u64>,
}

/// Pay over Lightning
///
/// Answers when the Ark server pays the invoice; `GET /lightning/sends/{identifier}` shows the end. If that takes longer than 20
/// seconds the answer is 202: the payment is stored and continues in the background, and must not be repeated, unless with its Idempotency-Key. An invoice is paid once: paying it again
/// answers with the outcome of the first payment, unless that one failed.
#[utoipa::path(post, path = "/lightning/pay", operation_id = "pay", tag = "lightning", request_body = LightningPayRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The payment is under way, or has succeeded", body = LightningPayResponse),
    (status = 202, description = "The payment is stored and continues in the background", body = LightningPayResponse),
    (status = 400, description = "The destination or the amount is invalid, or the balance is too low", body = BadRequestError),
    (status = 409, description = "The payment failed, or the fee is too high; nothing was paid", body = ConflictError),
    (status = 503, description = "The Ark server is unreachable; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn pay(
    State(app): State<App>,
    Json(request): Json<LightningPayRequest>,
) -> Result<(StatusCode, Json<LightningPayResponse>), ApiError> {
    let wallet = app.wallet()?;
    let amount = request.amount_sat.map(AmountSat::check).transpose()?;
    let terms = payment_terms(request.retry_for_secs, request.max_fee_sat);
    let outcome = detached(async move {
        let comment = request.comment.as_deref();
        wallet
            .pay(&request.destination, amount, comment, terms)
            .await
    })
    .await?;
    Ok(payment_answer(&outcome))
}
