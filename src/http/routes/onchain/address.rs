//! `POST /onchain/addresses/next`: a new on-chain address.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;

#[derive(Serialize, ToSchema)]
pub(super) struct Address {
    /// A bitcoin address that was not handed out before.
    address: String,
}

/// Generate on-chain address
#[utoipa::path(post, path = "/onchain/addresses/next", operation_id = "onchain_address", tag = "onchain", responses(
    (status = 200, description = "A new address", body = Address),
    NeedsWallet,
))]
pub(super) async fn onchain_address(State(app): State<App>) -> Result<Json<Address>, ApiError> {
    let address = app.wallet()?.next_onchain_address().await?;
    Ok(Json(Address {
        address: address.to_string(),
    }))
}
