//! `POST /wallet/refresh/vtxos`: refresh given VTXOs.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached, parse_vtxo_ids};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::round::PendingRoundInfo;

#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
}

/// Refresh specific VTXOs
///
/// Swaps VTXOs for new ones in the next round. They stay spendable until the round begins; those spent by then are left out, and
/// those that the Ark server refuses are set aside.
#[utoipa::path(post, path = "/wallet/refresh/vtxos", operation_id = "refresh_vtxos", tag = "wallet", request_body = RefreshRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The refresh waits for the next round", body = PendingRoundInfo),
    (status = 400, description = "A VTXO id is invalid or repeated, or the total is too small", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be refreshed now", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn refresh_vtxos(
    State(app): State<App>,
    Json(request): Json<RefreshRequest>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    let round = detached(async move { wallet.refresh_vtxos(vtxos).await }).await?;
    Ok(Json(round.into()))
}
