//! Ark addresses.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached};
use crate::http::schema::error::{
    BadRequestError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(address))
        .routes(routes!(peek_address))
}

#[derive(Serialize, ToSchema)]
struct ArkAddressResponse {
    /// An Ark address of the wallet.
    address: String,
}

/// Generate Ark address
#[utoipa::path(post, path = "/wallet/addresses/next", operation_id = "address", tag = "wallet", responses(
    (status = 200, description = "A fresh address", body = ArkAddressResponse),
    (status = 503, description = "The Ark server was never reached", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn address(State(app): State<App>) -> Result<Json<ArkAddressResponse>, ApiError> {
    let wallet = app.wallet()?;
    let address = detached(async move { wallet.next_address().await }).await?;
    Ok(Json(ArkAddressResponse {
        address: address.to_string(),
    }))
}

/// Get Ark address by index
///
/// Only addresses that were handed out before.
#[utoipa::path(get, path = "/wallet/addresses/index/{index}", operation_id = "peek_address", tag = "wallet",
    params(("index" = u32, Path, description = "The number of the address, counted from 0")), responses(
    (status = 200, description = "The address", body = ArkAddressResponse),
    (status = 400, description = "The index is no number", body = BadRequestError),
    (status = 404, description = "The address was never handed out", body = NotFoundError),
    (status = 503, description = "The Ark server was never reached", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn peek_address(
    State(app): State<App>,
    Path(index): Path<u32>,
) -> Result<Json<ArkAddressResponse>, ApiError> {
    let address = app.wallet()?.address_at(index).await?;
    Ok(Json(ArkAddressResponse {
        address: address.to_string(),
    }))
}
