//! `GET /wallet`: the fingerprint of the loaded wallet.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::extract::Json;
use crate::http::schema::error::Always;

#[derive(Serialize, ToSchema)]
pub(super) struct WalletExistsResponse {
    /// The wallet's fingerprint, 8 hex characters; null when there is no wallet.
    fingerprint: Option<String>,
}

/// Get wallet fingerprint
#[utoipa::path(get, path = "/wallet", operation_id = "wallet_exists", tag = "wallet", responses(
    (status = 200, description = "The wallet, if there is one", body = WalletExistsResponse),
    Always,
))]
pub(super) async fn wallet_exists(State(app): State<App>) -> Json<WalletExistsResponse> {
    let fingerprint = app
        .wallets
        .loaded()
        .map(|wallet| wallet.fingerprint().to_string());
    Json(WalletExistsResponse { fingerprint })
}
