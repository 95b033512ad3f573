//! `POST /wallet/refresh/counterparty`: refresh the VTXOs received from others.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::round::PendingRoundInfo;

/// Refresh received VTXOs
///
/// Refreshes the VTXOs that were received from others: until then the owner relies on earlier owners and the Ark server not to
/// collude.
#[utoipa::path(post, path = "/wallet/refresh/counterparty", operation_id = "refresh_counterparty", tag = "wallet", params(IdempotencyKey), responses(
    (status = 200, description = "The refresh waits for the next round", body = PendingRoundInfo),
    (status = 400, description = "There is too little to refresh", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be refreshed now", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn refresh_counterparty(
    State(app): State<App>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let round = detached(async move { wallet.refresh_counterparty().await }).await?;
    Ok(Json(round.into()))
}
