//! `POST /onchain/drain`: send everything to one address.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{BadRequestError, ConflictError, NeedsWallet};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::transaction::OnchainPayment;

#[derive(Deserialize, ToSchema)]
pub(super) struct OnchainDrainRequest {
    /// A bitcoin address.
    destination: String,
}

/// Drain on-chain wallet
///
/// Sends all outputs that are worth more than their fee to one address; the fee is deducted from them.
#[utoipa::path(post, path = "/onchain/drain", operation_id = "onchain_drain", tag = "onchain", request_body = OnchainDrainRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The transaction was broadcast", body = OnchainPayment),
    (status = 400, description = "The address is invalid, or there is nothing to send", body = BadRequestError),
    (status = 409, description = "The same request is being carried out", body = ConflictError),
    NeedsWallet,
))]
pub(super) async fn onchain_drain(
    State(app): State<App>,
    Json(request): Json<OnchainDrainRequest>,
) -> Result<Json<OnchainPayment>, ApiError> {
    let wallet = app.wallet()?;
    let txid = detached(async move { wallet.onchain_drain(&request.destination).await }).await?;
    Ok(Json(txid.into()))
}
