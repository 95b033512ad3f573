//! `POST /webhooks/{id}/rotate-secret`: give a webhook a new secret.

use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::webhook::WebhookWithSecret;

/// How long the old secret signs too, unless the request says otherwise: a day.
const GRACE: u64 = 24 * 60 * 60;

#[derive(Deserialize, ToSchema)]
pub(super) struct RotateSecretRequest {
    /// The new secret: `whsec_` and the base64 of 24 to 64 bytes; left out for a random one.
    secret: Option<String>,
    /// How many seconds the old secret signs too; a day if left out, at most 30 days. 0 ends it at once.
    grace_secs: Option<u64>,
}

/// Rotate the secret of a webhook
///
/// Until the old secret ends, `webhook-signature` has a signature of each secret, separated by a space. Only this answer shows the new one.
///
/// Codes: `invalid_webhook_secret`, `invalid_grace` (400).
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", operation_id = "rotate_webhook_secret", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")), request_body = RotateSecretRequest, responses(
    (status = 200, description = "The webhook, with its new secret", body = WebhookWithSecret),
    (status = 400, description = "A value is invalid", body = BadRequestError),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn rotate_webhook_secret(
    State(app): State<App>,
    Path(id): Path<String>,
    Json(request): Json<RotateSecretRequest>,
) -> Result<Json<WebhookWithSecret>, ApiError> {
    let wallet = app.wallet()?;
    let (id, secret) = (id.into(), request.secret);
    let grace = Duration::from_secs(request.grace_secs.unwrap_or(GRACE));
    let rotated =
        detached(async move { wallet.rotate_webhook_secret(&id, secret, grace).await }).await?;
    Ok(Json(rotated.into()))
}
