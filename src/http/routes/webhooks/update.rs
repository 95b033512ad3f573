//! `PATCH /webhooks/{id}`: change a webhook.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::webhook::Webhook;
use crate::wallet::WebhookChange;

/// A change of a webhook. What is left out or null stays as it is.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpdateWebhookRequest {
    /// Where events are posted to.
    url: Option<String>,
    /// A note, at most 256 characters.
    description: Option<String>,
    /// The types of events that are posted; empty for all.
    event_types: Option<Vec<String>>,
    /// Whether it gets events. While it is switched off, events wait. True also confirms lost events.
    enabled: Option<bool>,
}

/// Change a webhook
///
/// Changes what the body names. An event whose delivery has failed is tried again at once. A webhook that the daemon has switched off goes
/// on with `{"enabled": true}`.
#[utoipa::path(patch, path = "/webhooks/{id}", operation_id = "update_webhook", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")), request_body = UpdateWebhookRequest, responses(
    (status = 200, description = "The webhook as it is now", body = Webhook),
    (status = 400, description = "A value is invalid", body = BadRequestError),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn update_webhook(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(request): Json<UpdateWebhookRequest>,
) -> Result<Json<Webhook>, ApiError> {
    let wallet = app.wallet()?;
    let change = WebhookChange {
        url: request.url,
        description: request.description,
        kinds: request.event_types,
        enabled: request.enabled,
    };
    let changed = detached(async move { wallet.update_webhook(&id.into(), change).await }).await?;
    Ok(Json(changed.into()))
}
