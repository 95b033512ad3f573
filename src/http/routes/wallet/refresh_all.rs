//! `POST /wallet/refresh/all`: refresh every VTXO.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::round::PendingRoundInfo;

/// Refresh all VTXOs
#[utoipa::path(post, path = "/wallet/refresh/all", operation_id = "refresh_all", tag = "wallet", params(IdempotencyKey), responses(
    (status = 200, description = "The refresh waits for the next round", body = PendingRoundInfo),
    (status = 400, description = "There is nothing or too little to refresh", body = BadRequestError),
    (status = 409, description = "A VTXO cannot be refreshed now", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn refresh_all(
    State(app): State<App>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let round = detached(async move { wallet.refresh_all().await }).await?;
    Ok(Json(round.into()))
}
