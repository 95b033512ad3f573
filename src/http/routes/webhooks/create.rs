//! `POST /webhooks`: name a receiver.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{BadRequestError, ConflictError, GoneError, NeedsWallet};
use crate::http::schema::webhook::WebhookWithSecret;
use crate::wallet::{EventId, NewWebhook};

#[derive(Deserialize, ToSchema)]
pub(super) struct CreateWebhookRequest {
    /// Where events are posted to, http or https, at most 2048 bytes. Redirects are not followed.
    url: String,
    /// A note, at most 256 characters.
    description: Option<String>,
    /// The types of events that are posted, e.g. `movement-created`; empty or left out for all.
    event_types: Option<Vec<String>>,
    /// The secret that verifies the signatures: `whsec_` and the base64 of 24 to 64 bytes; left out for a random one.
    secret: Option<String>,
    /// The first event is the one after this number; left out for the next one that happens.
    after: Option<u64>,
}

/// Create a webhook
///
/// Each event is posted to the URL, in order, until the receiver answers it with a status from 200 to 299; the next one waits for that. The
/// posts are signed as the specification Standard Webhooks says. Only this answer shows the secret. An event can arrive twice, with the
/// same `webhook-id`.
///
/// Codes: `invalid_webhook_url`, `description_too_long`, `unknown_event_type`, `invalid_webhook_secret`, `cursor_ahead` (400);
/// `events_pruned` (410); `too_many_webhooks` (409).
#[utoipa::path(post, path = "/webhooks", operation_id = "create_webhook", tag = "webhooks", request_body = CreateWebhookRequest, responses(
    (status = 200, description = "The webhook, with its secret", body = WebhookWithSecret),
    (status = 400, description = "A value is invalid", body = BadRequestError),
    (status = 409, description = "There are too many webhooks", body = ConflictError),
    (status = 410, description = "The event after `after` is not kept any more", body = GoneError),
    NeedsWallet,
))]
pub(super) async fn create_webhook(
    State(app): State<App>,
    Json(request): Json<CreateWebhookRequest>,
) -> Result<Json<WebhookWithSecret>, ApiError> {
    let wallet = app.wallet()?;
    let new = NewWebhook {
        url: request.url,
        description: request.description.unwrap_or_default(),
        kinds: request.event_types.unwrap_or_default(),
        secret: request.secret,
        after: request.after.map(EventId),
    };
    let created = detached(async move { wallet.create_webhook(new).await }).await?;
    Ok(Json(created.into()))
}
