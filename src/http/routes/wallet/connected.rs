//! `GET /wallet/connected`: the state of the connection to the Ark server.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;

#[derive(Serialize, ToSchema)]
pub(super) struct ConnectedResponse {
    /// Whether the last request to the Ark server was answered.
    connected: bool,
}

/// Check server connection
#[utoipa::path(get, path = "/wallet/connected", operation_id = "connected", tag = "wallet", responses(
    (status = 200, description = "The state of the connection", body = ConnectedResponse),
    NeedsWallet,
))]
pub(super) async fn connected(State(app): State<App>) -> Result<Json<ConnectedResponse>, ApiError> {
    Ok(Json(ConnectedResponse {
        connected: app.wallet()?.is_connected(),
    }))
}
