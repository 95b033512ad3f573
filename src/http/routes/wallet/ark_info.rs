//! `GET /wallet/ark-info`: the parameters of the Ark server.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::ark_info::ArkInfo;
use crate::http::schema::error::{NeedsWallet, NotFoundError};

/// Get Ark server info
#[utoipa::path(get, path = "/wallet/ark-info", operation_id = "ark_info", tag = "wallet", responses(
    (status = 200, description = "The server's latest parameters", body = ArkInfo),
    (status = 404, description = "The Ark server has not been reached since the daemon started", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn ark_info(State(app): State<App>) -> Result<Json<ArkInfo>, ApiError> {
    let info = app.wallet()?.known_info()?;
    Ok(Json((&*info).into()))
}
