//! `DELETE /wallet`: delete the wallet.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    Always, BadRequestError, ConflictError, UnprocessableEntityError,
};
use crate::wallet::lifecycle::DeleteWallet;

#[derive(Deserialize, ToSchema)]
pub(super) struct WalletDeleteRequest {
    /// Must be true: the seed is destroyed, and every fund of the wallet with it unless there is a backup.
    dangerous: bool,
    /// The fingerprint of the wallet to delete.
    fingerprint: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct WalletDeleteResponse {
    /// Whether a wallet was loaded and has been deleted.
    deleted: bool,
    /// The fingerprint of the deleted wallet.
    fingerprint: Option<String>,
    /// What happened, for a human reader.
    message: String,
}

/// Delete the wallet
///
/// Deletes the wallet's seed, database and configuration. The daemon keeps running without a wallet.
#[utoipa::path(delete, path = "/wallet", operation_id = "wallet_delete", tag = "wallet", request_body = WalletDeleteRequest, responses(
    (status = 200, description = "No wallet is left", body = WalletDeleteResponse),
    (status = 400, description = "dangerous is false, or the fingerprint does not match", body = BadRequestError),
    (status = 409, description = "Other requests still use the wallet, or a seed or database is not that of the named wallet", body = ConflictError),
    (status = 422, description = "The body has the wrong shape", body = UnprocessableEntityError),
    Always,
))]
pub(super) async fn wallet_delete(
    State(app): State<App>,
    Json(request): Json<WalletDeleteRequest>,
) -> Result<Json<WalletDeleteResponse>, ApiError> {
    let request = DeleteWallet {
        dangerous: request.dangerous,
        fingerprint: request.fingerprint,
    };
    let deleted = detached(async move { app.wallets.delete(request).await }).await?;
    let message = match deleted.fingerprint {
        Some(_) => "Wallet deleted",
        None => "No wallet was loaded; leftover files of one were removed",
    };
    Ok(Json(WalletDeleteResponse {
        deleted: deleted.fingerprint.is_some(),
        fingerprint: deleted
            .fingerprint
            .map(|fingerprint| fingerprint.to_string()),
        message: message.to_owned(),
    }))
}
