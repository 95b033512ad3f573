//! `GET /webhooks/{id}`: one webhook.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::schema::error::{NeedsWallet, NotFoundError};
use crate::http::schema::webhook::Webhook;

/// Get a webhook
///
/// Its settings and its state, without its secret.
#[utoipa::path(get, path = "/webhooks/{id}", operation_id = "get_webhook", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 200, description = "The webhook", body = Webhook),
    (status = 404, description = "There is no such webhook", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn get_webhook(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Webhook>, ApiError> {
    Ok(Json(app.wallet()?.webhook(&id.into()).await?.into()))
}
