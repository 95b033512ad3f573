//! `GET /webhooks/{id}/deliveries`: the last tries of a webhook.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::webhook::WebhookDelivery;

/// The number of entries without a limit.
const LIMIT: u32 = 100;
/// The most entries that a webhook's log has.
const MAX_LIMIT: u32 = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Maximum number of entries, from 1 to 1000; 100 if left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only entries older than the one with this number. For the next page, pass the last `number` of the previous page.
    before: Option<u64>,
}

/// List deliveries of a webhook
///
/// Its last 1000 tries, newest first, those of tests included.
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id"), Page), responses(
    (status = 200, description = "The tries", body = [WebhookDelivery]),
    (status = 400, description = "The limit is invalid", body = BadRequestError),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn list_webhook_deliveries(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<WebhookDelivery>>, ApiError> {
    let (wallet, id) = (app.wallet()?, id.into());
    let limit = page.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("`limit` is from 1 to {MAX_LIMIT}");
        return Err(ApiError::bad_request("invalid_limit", message));
    }
    let deliveries = wallet.webhook_deliveries(&id, page.before, limit).await?;
    Ok(Json(deliveries.into_iter().map(Into::into).collect()))
}
