//! Which wallet it is, its words, and its Ark server.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::ark_info::ArkInfo;
use crate::http::schema::error::{Always, NeedsWallet, NotFoundError};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(wallet_exists))
        .routes(routes!(mnemonic))
        .routes(routes!(connected))
        .routes(routes!(ark_info))
}

#[derive(Serialize, ToSchema)]
struct WalletExistsResponse {
    /// The wallet's fingerprint, 8 hex characters; null when there is no wallet.
    fingerprint: Option<String>,
}

/// Get wallet fingerprint
#[utoipa::path(get, path = "/wallet", operation_id = "wallet_exists", tag = "wallet", responses(
    (status = 200, description = "The wallet, if there is one", body = WalletExistsResponse),
    Always,
))]
async fn wallet_exists(State(app): State<App>) -> Json<WalletExistsResponse> {
    let fingerprint = app
        .wallets
        .loaded()
        .map(|wallet| wallet.fingerprint().to_string());
    Json(WalletExistsResponse { fingerprint })
}

#[derive(Serialize, ToSchema)]
struct MnemonicResponse {
    /// The BIP-39 words.
    mnemonic: String,
}

/// Get wallet mnemonic
///
/// Only if the daemon was started with `--expose-mnemonic`.
#[utoipa::path(get, path = "/wallet/mnemonic", operation_id = "mnemonic", tag = "wallet", responses(
    (status = 200, description = "The seed words", body = MnemonicResponse),
    (status = 404, description = "The daemon does not show them", body = NotFoundError),
    NeedsWallet,
))]
async fn mnemonic(State(app): State<App>) -> Result<Json<MnemonicResponse>, ApiError> {
    if !app.expose_mnemonic {
        let message =
            "The daemon does not show the mnemonic; start it with --expose-mnemonic if it should";
        return Err(ApiError::not_found("mnemonic_not_exposed", message));
    }
    let mnemonic = app.wallets.mnemonic()?.ok_or_else(ApiError::no_wallet)?;
    Ok(Json(MnemonicResponse {
        mnemonic: mnemonic.to_string(),
    }))
}

#[derive(Serialize, ToSchema)]
struct ConnectedResponse {
    /// Whether the Ark server answered when it was last asked.
    connected: bool,
}

/// Check server connection
#[utoipa::path(get, path = "/wallet/connected", operation_id = "connected", tag = "wallet", responses(
    (status = 200, description = "Whether the Ark server is there", body = ConnectedResponse),
    NeedsWallet,
))]
async fn connected(State(app): State<App>) -> Result<Json<ConnectedResponse>, ApiError> {
    Ok(Json(ConnectedResponse {
        connected: app.wallet()?.is_connected(),
    }))
}

/// Get Ark server info
#[utoipa::path(get, path = "/wallet/ark-info", operation_id = "ark_info", tag = "wallet", responses(
    (status = 200, description = "The server's parameters as last heard", body = ArkInfo),
    (status = 404, description = "The server was not reached since the daemon started", body = NotFoundError),
    NeedsWallet,
))]
async fn ark_info(State(app): State<App>) -> Result<Json<ArkInfo>, ApiError> {
    let info = app.wallet()?.ark_info().ok_or_else(|| {
        ApiError::not_found(
            "never_connected",
            "The Ark server was not reached since the daemon started",
        )
        .about("ark server")
    })?;
    Ok(Json((&*info).into()))
}
