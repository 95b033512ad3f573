//! `POST /wallet/send-onchain`: pay a bitcoin address from VTXOs.

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
use crate::http::schema::offboard::{OffboardResult, offboard_answer};

#[derive(Deserialize, ToSchema)]
pub(super) struct SendOnchainRequest {
    /// A bitcoin address.
    destination: String,
    /// The amount to pay, in satoshis; the fee comes on top.
    amount_sat: AmountSat,
}

/// Send on-chain
///
/// Pays exactly the given amount from VTXOs to an on-chain address; the fee comes on top. Answers when the transaction was broadcast.
/// If that takes longer than 20 seconds the payment is stored and continues in the background, and must not be sent again, unless with
/// its Idempotency-Key: the answer is 202 if the transaction is signed, otherwise 504 `still_in_progress`.
#[utoipa::path(post, path = "/wallet/send-onchain", operation_id = "send_onchain", tag = "wallet", request_body = SendOnchainRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The transaction was broadcast", body = OffboardResult),
    (status = 202, description = "The transaction is signed; it is broadcast in the background", body = OffboardResult),
    (status = 400, description = "The address or the amount is invalid, or the balance is too low", body = BadRequestError),
    (status = 409, description = "The Ark server refused the request", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn send_onchain(
    State(app): State<App>,
    Json(request): Json<SendOnchainRequest>,
) -> Result<(StatusCode, Json<OffboardResult>), ApiError> {
    let wallet = app.wallet()?;
    let amount = request.amount_sat.check()?;
    let outcome =
        detached(async move { wallet.send_onchain(&request.destination, amount).await }).await?;
    Ok(offboard_answer(outcome))
}
