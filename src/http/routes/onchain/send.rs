//! `POST /onchain/send`: pay one address from the on-chain wallet.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::transaction::OnchainPayment;

#[derive(Deserialize, ToSchema)]
pub(super) struct OnchainSendRequest {
    /// A bitcoin address.
    destination: String,
    /// The amount to pay, in satoshis; the fee comes on top.
    amount_sat: AmountSat,
}

/// Send on-chain payment
///
/// Pays from the on-chain wallet. The transaction is stored before it is broadcast, and rebroadcast until it confirms.
#[utoipa::path(post, path = "/onchain/send", operation_id = "onchain_send", tag = "onchain", request_body = OnchainSendRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The transaction was broadcast", body = OnchainPayment),
    (status = 400, description = "The address or the amount is invalid, or the balance is too low", body = BadRequestError),
    (status = 409, description = "The same request is being carried out", body = ConflictError),
    (status = 503, description = "The chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn onchain_send(
    State(app): State<App>,
    Json(request): Json<OnchainSendRequest>,
) -> Result<Json<OnchainPayment>, ApiError> {
    let wallet = app.wallet()?;
    let amount = request.amount_sat.check()?;
    let txid =
        detached(async move { wallet.onchain_send(&request.destination, amount).await }).await?;
    Ok(Json(txid.into()))
}
