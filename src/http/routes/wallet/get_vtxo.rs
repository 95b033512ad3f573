//! `GET /wallet/vtxos/{id}`: one VTXO.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, parse_vtxo_id};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::vtxo::WalletVtxoInfo;

/// Get VTXO detail
#[utoipa::path(get, path = "/wallet/vtxos/{id}", operation_id = "get_vtxo", tag = "wallet",
    params(("id" = String, Path, description = "The VTXO's id, `txid:vout`", pattern = "^[0-9a-f]{64}:(0|[1-9][0-9]{0,8})$")), responses(
    (status = 200, description = "The VTXO", body = WalletVtxoInfo),
    (status = 400, description = "The id is invalid", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn get_vtxo(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<WalletVtxoInfo>, ApiError> {
    let wallet = app.wallet()?;
    let record = wallet.vtxo(parse_vtxo_id(&id)?).await?;
    Ok(Json((&*record).into()))
}
