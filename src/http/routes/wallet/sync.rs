//! Asking for a sync instead of waiting for the background to do it.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{NeedsWallet, ServiceUnavailableError};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sync))
        .routes(routes!(sync_mailbox))
}

/// Sync wallet
///
/// Fetches and drives everything off chain. Parts that fail are logged, and tried again by the background.
#[utoipa::path(post, path = "/wallet/sync", operation_id = "sync", tag = "wallet", responses(
    (status = 200, description = "Everything was tried"),
    NeedsWallet,
))]
async fn sync(State(app): State<App>) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    detached(async move {
        wallet.sync().await;
        Ok(())
    })
    .await
}

#[derive(Serialize, ToSchema)]
struct MailboxSyncResponse {
    /// How far the mailbox was read; never goes back.
    checkpoint: u64,
}

/// Sync mailbox only
#[utoipa::path(post, path = "/wallet/sync/mailbox", operation_id = "sync_mailbox", tag = "wallet", responses(
    (status = 200, description = "The mailbox was read to its end", body = MailboxSyncResponse),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn sync_mailbox(State(app): State<App>) -> Result<Json<MailboxSyncResponse>, ApiError> {
    let wallet = app.wallet()?;
    let checkpoint = detached(async move { wallet.sync_mailbox().await }).await?;
    Ok(Json(MailboxSyncResponse { checkpoint }))
}
