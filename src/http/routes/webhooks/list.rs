//! `GET /webhooks`: all webhooks.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::webhook::Webhook;

/// List webhooks
///
/// All webhooks with their state, oldest first, without their secrets.
#[utoipa::path(get, path = "/webhooks", operation_id = "list_webhooks", tag = "webhooks", responses(
    (status = 200, description = "The webhooks", body = [Webhook]),
    NeedsWallet,
))]
pub(super) async fn list_webhooks(State(app): State<App>) -> Result<Json<Vec<Webhook>>, ApiError> {
    let webhooks = app.wallet()?.webhooks().await?;
    Ok(Json(webhooks.into_iter().map(Into::into).collect()))
}
