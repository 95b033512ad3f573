//! `POST /wallet/addresses/next`: a new Ark address.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::address::ArkAddressResponse;
use crate::http::schema::error::{NeedsWallet, ServiceUnavailableError};

/// Generate Ark address
#[utoipa::path(post, path = "/wallet/addresses/next", operation_id = "address", tag = "wallet", responses(
    (status = 200, description = "A new address", body = ArkAddressResponse),
    (status = 503, description = "The Ark server has not been reached yet", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn address(State(app): State<App>) -> Result<Json<ArkAddressResponse>, ApiError> {
    let wallet = app.wallet()?;
    let address = detached(async move { wallet.next_address().await }).await?;
    Ok(Json(ArkAddressResponse {
        address: address.to_string(),
    }))
}
