//! Refreshing VTXOs in rounds.

use std::time::{Duration, UNIX_EPOCH};

use ark_lib::VtxoId;
use axum::extract::State;
use bitcoin_ext::BlockHeight;
use chrono::{DateTime, Local, SecondsFormat};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::vtxos::parse_id;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::round::PendingRoundInfo;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(next_round))
        .routes(routes!(pending_rounds))
        .routes(routes!(refresh_vtxos))
        .routes(routes!(refresh_delegated))
        .routes(routes!(refresh_all))
        .routes(routes!(refresh_counterparty))
}

#[derive(Serialize, ToSchema)]
struct NextRoundStart {
    /// RFC 3339.
    start_time: String,
}

/// Get next round time
#[utoipa::path(get, path = "/wallet/next-round", operation_id = "next_round", tag = "wallet", responses(
    (status = 200, description = "When the next round starts", body = NextRoundStart),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn next_round(State(app): State<App>) -> Result<Json<NextRoundStart>, ApiError> {
    let seconds = app.wallet()?.next_round().await?;
    let start = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds <= LAST_SECOND)
        .ok_or_else(|| ApiError::internal(format!("round at {seconds} seconds")))?;
    let start: DateTime<Local> = start.into();
    Ok(Json(NextRoundStart {
        start_time: start.to_rfc3339_opts(SecondsFormat::Secs, false),
    }))
}

/// The end of the year 9999, seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// List round participations
///
/// The participations under way, oldest first. One that is done or has failed is told of by its movement.
#[utoipa::path(get, path = "/wallet/rounds", operation_id = "pending_rounds", tag = "wallet", responses(
    (status = 200, description = "The participations", body = [PendingRoundInfo]),
    NeedsWallet,
))]
async fn pending_rounds(State(app): State<App>) -> Result<Json<Vec<PendingRoundInfo>>, ApiError> {
    let rounds = app.wallet()?.pending_rounds().await?;
    Ok(Json(rounds.into_iter().map(Into::into).collect()))
}

#[derive(Deserialize, ToSchema)]
struct RefreshRequest {
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
}

/// Refresh specific VTXOs
///
/// Swaps VTXOs for new ones in the next round. They stay free until it begins; what is spent by then is left out. If the Ark
/// server refuses one of them, nothing is refreshed.
#[utoipa::path(post, path = "/wallet/refresh/vtxos", operation_id = "refresh_vtxos", tag = "wallet", request_body = RefreshRequest, responses(
    (status = 200, description = "The refresh waits for its round", body = PendingRoundInfo),
    (status = 400, description = "A VTXO is named wrongly or twice, or they are too little", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be refreshed now", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn refresh_vtxos(
    State(app): State<App>,
    Json(request): Json<RefreshRequest>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_ids(&request.vtxos)?;
    let round = detached(async move { wallet.refresh_vtxos(vtxos).await }).await?;
    Ok(Json(round.into()))
}

#[derive(Deserialize, ToSchema)]
struct DelegatedRefreshRequest {
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
    /// No round before this height carries it out; also the height that the fee is reckoned at.
    height: Option<u32>,
}

/// Delegate a refresh
///
/// Leaves a refresh with the Ark server, which carries it out in its next round, or in the first one from a height on, also
/// while the daemon is down.
#[utoipa::path(post, path = "/wallet/refresh/delegated/vtxos", operation_id = "refresh_delegated", tag = "wallet", request_body = DelegatedRefreshRequest, responses(
    (status = 200, description = "The server has the refresh", body = PendingRoundInfo),
    (status = 400, description = "A VTXO is named wrongly or twice, they are too little, or one expires too soon", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be refreshed now, or the server refused", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn refresh_delegated(
    State(app): State<App>,
    Json(request): Json<DelegatedRefreshRequest>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_ids(&request.vtxos)?;
    let height = request.height.map(BlockHeight::new);
    let round = detached(async move { wallet.refresh_delegated(vtxos, height).await }).await?;
    Ok(Json(round.into()))
}

/// Refresh all VTXOs
#[utoipa::path(post, path = "/wallet/refresh/all", operation_id = "refresh_all", tag = "wallet", responses(
    (status = 200, description = "The refresh waits for its round", body = PendingRoundInfo),
    (status = 400, description = "There is nothing or too little to refresh", body = BadRequestError),
    (status = 409, description = "A VTXO cannot be refreshed now", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn refresh_all(State(app): State<App>) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let round = detached(async move { wallet.refresh_all().await }).await?;
    Ok(Json(round.into()))
}

/// Refresh received VTXOs
///
/// Those for which one has to trust that an earlier owner and the Ark server do not collude.
#[utoipa::path(post, path = "/wallet/refresh/counterparty", operation_id = "refresh_counterparty", tag = "wallet", responses(
    (status = 200, description = "The refresh waits for its round", body = PendingRoundInfo),
    (status = 400, description = "There is too little to refresh", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be refreshed now", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn refresh_counterparty(State(app): State<App>) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let round = detached(async move { wallet.refresh_counterparty().await }).await?;
    Ok(Json(round.into()))
}

pub(in crate::http) fn parse_ids(ids: &[String]) -> Result<Vec<VtxoId>, ApiError> {
    if ids.is_empty() {
        return Err(ApiError::bad_request("no_vtxos", "Name at least one VTXO"));
    }
    ids.iter().map(|id| parse_id(id)).collect()
}
