//! `GET /wallet/vtxos`: the VTXOs of the wallet.

use std::num::NonZeroU32;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query, parse_vtxo_id};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::vtxo::WalletVtxoInfo;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct VtxosQuery {
    /// Also list spent and exited VTXOs.
    all: Option<bool>,
    /// Maximum number of entries, at least 1; without it, all.
    #[param(value_type = Option<u32>, format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    limit: Option<NonZeroU32>,
    /// Only VTXOs after the one with this id. For the next page, pass the last `id` of the previous page, even if that VTXO has been spent
    /// since.
    after: Option<String>,
}

/// List VTXOs
///
/// The VTXOs that are spendable or locked, soonest expiry first. Long lists can be read in pages with `limit` and `after`.
#[utoipa::path(get, path = "/wallet/vtxos", operation_id = "vtxos", tag = "wallet", params(VtxosQuery), responses(
    (status = 200, description = "The VTXOs", body = [WalletVtxoInfo]),
    (status = 400, description = "The query is invalid", body = BadRequestError),
    (status = 404, description = "There is no VTXO with the id `after`", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn vtxos(
    State(app): State<App>,
    Query(query): Query<VtxosQuery>,
) -> Result<Json<Vec<WalletVtxoInfo>>, ApiError> {
    let wallet = app.wallet()?;
    let after = query.after.as_deref().map(parse_vtxo_id).transpose()?;
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
