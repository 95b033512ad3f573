//! `GET /wallet/addresses/index/{index}`: an Ark address that was handed out before.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::schema::address::ArkAddressResponse;
use crate::http::schema::error::{
    BadRequestError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};

/// Get Ark address by index
///
/// Only addresses that were handed out before can be looked up.
#[utoipa::path(get, path = "/wallet/addresses/index/{index}", operation_id = "peek_address", tag = "wallet",
    params(("index" = u32, Path, description = "The index of the address, starting at 0")), responses(
    (status = 200, description = "The address", body = ArkAddressResponse),
    (status = 400, description = "The index is not a number", body = BadRequestError),
    (status = 404, description = "The address was not handed out yet", body = NotFoundError),
    (status = 503, description = "The Ark server has not been reached yet", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn peek_address(
    State(app): State<App>,
    Path(index): Path<u32>,
) -> Result<Json<ArkAddressResponse>, ApiError> {
    let address = app.wallet()?.address_at(index).await?;
    Ok(Json(ArkAddressResponse {
        address: address.to_string(),
    }))
}
