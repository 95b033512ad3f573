//! `POST /webhooks/{id}/test`: try a receiver.

use axum::extract::State;
use chrono::Utc;
use serde_json::json;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached};
use crate::http::schema::error::{NeedsWallet, NotFoundError};
use crate::http::schema::webhook::WebhookDelivery;

/// Test a webhook
///
/// Posts `{"type": "test", "created_at": …, "webhook_id": …}` once, signed as events are, and answers what came of it. The order of the events
/// does not change. A webhook that is switched off can be tested too.
#[utoipa::path(post, path = "/webhooks/{id}/test", operation_id = "test_webhook", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 200, description = "What came of the post", body = WebhookDelivery),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn test_webhook(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<WebhookDelivery>, ApiError> {
    let wallet = app.wallet()?;
    let body = json!({"type": "test", "created_at": Utc::now(), "webhook_id": id});
    let (id, body) = (id.into(), body.to_string());
    let delivery = detached(async move { wallet.test_webhook(&id, body).await }).await?;
    Ok(Json(delivery.into()))
}
