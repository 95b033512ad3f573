//! `POST /history/{id}/metadata`: notes of the user on a movement.

use axum::extract::State;
use serde_json::Value;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::wallet::MovementId;

/// Patch movement metadata
///
/// Merges a JSON object into the metadata by RFC 7396: null deletes a key. The body `null` deletes all keys that clients have set. Keys
/// that the wallet writes, such as `payment_hash`, cannot be changed. Notes take at most 16 KiB and 16 levels.
#[utoipa::path(post, path = "/history/{id}/metadata", operation_id = "update_metadata", tag = "history",
    params(("id" = u32, Path, description = "The movement's id")), request_body(
        content = serde_json::Value, content_type = "application/merge-patch+json",
        description = "A JSON merge patch (RFC 7396), with any JSON content type."), responses(
    (status = 200, description = "The metadata was changed"),
    (status = 400, description = "The patch names a key of the wallet, is too deep, or too large", body = BadRequestError),
    (status = 404, description = "There is no such movement", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn update_metadata(
    State(app): State<App>,
    Path(id): Path<u32>,
    Json(patch): Json<Value>,
) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    // A body is an object or null.
    let patch = match patch {
        Value::Object(patch) => Some(patch),
        _ => None,
    };
    detached(async move { wallet.update_metadata(MovementId(id), patch).await }).await
}
