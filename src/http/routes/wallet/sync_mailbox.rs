//! `POST /wallet/sync/mailbox`: fetch incoming payments now.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{NeedsWallet, ServiceUnavailableError};

#[derive(Serialize, ToSchema)]
pub(super) struct MailboxSyncResponse {
    /// The mailbox position up to which everything was read; never decreases.
    checkpoint: u64,
}

/// Sync mailbox only
#[utoipa::path(post, path = "/wallet/sync/mailbox", operation_id = "sync_mailbox", tag = "wallet", responses(
    (status = 200, description = "The mailbox was read to its end", body = MailboxSyncResponse),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn sync_mailbox(
    State(app): State<App>,
) -> Result<Json<MailboxSyncResponse>, ApiError> {
    let wallet = app.wallet()?;
    let checkpoint = detached(async move { wallet.sync_mailbox().await }).await?;
    Ok(Json(MailboxSyncResponse { checkpoint }))
}
