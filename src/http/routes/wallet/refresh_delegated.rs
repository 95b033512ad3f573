//! `POST /wallet/refresh/delegated/vtxos`: let the Ark server refresh given VTXOs.

use axum::extract::State;
use bitcoin_ext::BlockHeight;
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
pub(super) struct DelegatedRefreshRequest {
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
    /// The earliest block height at which a round may carry it out; the fee is computed for this height.
    height: Option<u32>,
}

/// Delegate a refresh
///
/// Hands a refresh over to the Ark server, which carries it out in its next round, or in the first round from `height` on, even
/// while the daemon is down.
#[utoipa::path(post, path = "/wallet/refresh/delegated/vtxos", operation_id = "refresh_delegated", tag = "wallet", request_body = DelegatedRefreshRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The Ark server accepted the refresh", body = PendingRoundInfo),
    (status = 400, description = "A VTXO id is invalid or repeated, the total is too small, or a VTXO expires too soon", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be refreshed now, or the Ark server refused the request", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn refresh_delegated(
    State(app): State<App>,
    Json(request): Json<DelegatedRefreshRequest>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    let height = request.height.map(BlockHeight::new);
    let round = detached(async move { wallet.refresh_delegated(vtxos, height).await }).await?;
    Ok(Json(round.into()))
}
