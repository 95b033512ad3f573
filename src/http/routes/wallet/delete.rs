//! Deleting the wallet.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    Always, BadRequestError, ConflictError, UnprocessableEntityError,
};
use crate::wallet::lifecycle::DeleteWallet;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(wallet_delete))
}

#[derive(Deserialize, ToSchema)]
struct WalletDeleteRequest {
    /// Must be true: the seed is destroyed, and with it whatever the wallet holds, unless it was written down.
    dangerous: bool,
    /// The fingerprint of the wallet to delete.
    fingerprint: String,
}

#[derive(Serialize, ToSchema)]
struct WalletDeleteResponse {
    /// Whether a wallet was loaded and is gone.
    deleted: bool,
    /// The wallet that is gone.
    fingerprint: Option<String>,
    /// What happened, for people.
    message: String,
}

/// Delete the wallet
///
/// Destroys the wallet's seed, database and configuration. The daemon goes on without a wallet.
#[utoipa::path(delete, path = "/wallet", operation_id = "wallet_delete", tag = "wallet", request_body = WalletDeleteRequest, responses(
    (status = 200, description = "There is no wallet any more", body = WalletDeleteResponse),
    (status = 400, description = "dangerous is false, or the fingerprint is another wallet's", body = BadRequestError),
    (status = 409, description = "Requests still use the wallet", body = ConflictError),
    (status = 422, description = "The body has the wrong shape", body = UnprocessableEntityError),
    Always,
))]
async fn wallet_delete(
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
        None => "No wallet was loaded; leftovers of one were removed",
    };
    Ok(Json(WalletDeleteResponse {
        deleted: deleted.fingerprint.is_some(),
        fingerprint: deleted
            .fingerprint
            .map(|fingerprint| fingerprint.to_string()),
        message: message.to_owned(),
    }))
}
