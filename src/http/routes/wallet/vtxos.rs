//! The wallet's VTXOs.

use std::num::NonZeroU32;

use ark_lib::VtxoId;
use axum::extract::State;
use bitcoin::hex::DisplayHex;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::vtxo::WalletVtxoInfo;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(vtxos))
        .routes(routes!(get_vtxo))
        .routes(routes!(get_vtxo_encoded))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct VtxosQuery {
    /// Also list what is spent or exited.
    all: Option<bool>,
    /// At most so many, at least 1; without it, all.
    #[param(value_type = Option<u32>, minimum = 1)]
    limit: Option<NonZeroU32>,
    /// Only VTXOs that come after the one with this id: for the next page, the last `id` of the page before, even if it has been
    /// spent since.
    after: Option<String>,
}

/// List VTXOs
///
/// The VTXOs that are spendable or locked, soonest expiry first. Long lists are read page by page with `limit` and `after`.
#[utoipa::path(get, path = "/wallet/vtxos", operation_id = "vtxos", tag = "wallet", params(VtxosQuery), responses(
    (status = 200, description = "The VTXOs", body = [WalletVtxoInfo]),
    (status = 400, description = "The query is not right", body = BadRequestError),
    (status = 404, description = "There is no VTXO `after`", body = NotFoundError),
    NeedsWallet,
))]
async fn vtxos(
    State(app): State<App>,
    Query(query): Query<VtxosQuery>,
) -> Result<Json<Vec<WalletVtxoInfo>>, ApiError> {
    let wallet = app.wallet()?;
    let after = query.after.as_deref().map(parse_id).transpose()?;
    let limit = query.limit.map(NonZeroU32::get);
    let records = if query.all.unwrap_or(false) {
        wallet.all_vtxos(after, limit).await?
    } else {
        wallet.vtxos(after, limit).await?
    };
    Ok(Json(
        records.iter().map(|record| (&**record).into()).collect(),
    ))
}

/// Get VTXO detail
#[utoipa::path(get, path = "/wallet/vtxos/{id}", operation_id = "get_vtxo", tag = "wallet",
    params(("id" = String, Path, description = "The VTXO's id, `txid:vout`")), responses(
    (status = 200, description = "The VTXO", body = WalletVtxoInfo),
    (status = 400, description = "The id is not right", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    NeedsWallet,
))]
async fn get_vtxo(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<WalletVtxoInfo>, ApiError> {
    let wallet = app.wallet()?;
    let record = wallet.vtxo(parse_id(&id)?).await?;
    Ok(Json((&*record).into()))
}

#[derive(Serialize, ToSchema)]
struct EncodedVtxoResponse {
    /// The VTXO with its exit chain, hex.
    encoded: String,
}

/// Get encoded VTXO
///
/// The VTXO with all that is needed to take it on chain.
#[utoipa::path(get, path = "/wallet/vtxos/{id}/encoded", operation_id = "get_vtxo_encoded", tag = "wallet",
    params(("id" = String, Path, description = "The VTXO's id, `txid:vout`")), responses(
    (status = 200, description = "The encoded VTXO", body = EncodedVtxoResponse),
    (status = 400, description = "The id is not right", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    NeedsWallet,
))]
async fn get_vtxo_encoded(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<EncodedVtxoResponse>, ApiError> {
    let wallet = app.wallet()?;
    let encoded = wallet.encoded_vtxo(parse_id(&id)?).await?;
    Ok(Json(EncodedVtxoResponse {
        encoded: encoded.to_lower_hex_string(),
    }))
}

pub(super) fn parse_id(id: &str) -> Result<VtxoId, ApiError> {
    id.parse()
        .map_err(|_| ApiError::bad_request("invalid_vtxo_id", "A VTXO id has the form txid:vout"))
}
