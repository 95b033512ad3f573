//! `DELETE /webhooks/{id}`: end a webhook.

use axum::extract::State;
use axum::http::StatusCode;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Path, detached};
use crate::http::schema::error::{NeedsWallet, NotFoundError};

/// Delete a webhook
///
/// Deletes it with the log of its deliveries. A post under way may still arrive.
#[utoipa::path(delete, path = "/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 204, description = "The webhook is deleted"),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn delete_webhook(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let wallet = app.wallet()?;
    detached(async move { wallet.delete_webhook(&id.into()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
