//! `history`: the movements, and what the user notes on them.

use std::num::NonZeroU32;

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query, detached};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::movement::Movement;
use crate::wallet::{HistoryPage, MovementId, PaymentMethod};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(update_metadata))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// `ark`, `bitcoin`, `output-script`, `invoice`, `offer`, `lightning-address`, `lnurl` or `custom`; goes with `value`.
    r#type: Option<String>,
    /// The address, invoice, … that was paid or paid to; goes with `type`.
    value: Option<String>,
    /// At most so many, at least 1; without it, all.
    #[param(value_type = Option<u32>, minimum = 1)]
    limit: Option<NonZeroU32>,
    /// Only movements older than the one with this number: for the next page, the last `id` of the page before.
    before: Option<u32>,
}

impl Filter {
    fn excerpt(self) -> Result<HistoryPage, ApiError> {
        let invalid = |message: String| ApiError::bad_request("invalid_filter", message);
        let method = match (self.r#type, self.value) {
            (None, None) => None,
            (Some(kind), Some(value)) => Some(
                PaymentMethod::from_parts(&kind, value)
                    .ok_or_else(|| invalid(format!("There is no payment method {kind:?}")))?,
            ),
            _ => {
                return Err(invalid(
                    "type and value go together; give both or none".into(),
                ));
            }
        };
        Ok(HistoryPage {
            method,
            before: self.before.map(MovementId),
            limit: self.limit.map(NonZeroU32::get),
        })
    }
}

/// Get wallet history
///
/// The movements, newest first; only those to or from one payment method when `type` and `value` are given. Long histories are
/// read page by page with `limit` and `before`.
#[utoipa::path(get, path = "/history", operation_id = "list", tag = "history", params(Filter), responses(
    (status = 200, description = "The history", body = [Movement]),
    (status = 400, description = "The filter is not right", body = BadRequestError),
    NeedsWallet,
))]
async fn list(
    State(app): State<App>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Movement>>, ApiError> {
    let movements = app.wallet()?.history(filter.excerpt()?).await?;
    Ok(Json(movements.into_iter().map(Into::into).collect()))
}

/// Patch movement metadata
///
/// Merges a JSON object into the metadata by RFC 7396: null deletes a key.
#[utoipa::path(post, path = "/history/{id}/metadata", operation_id = "update_metadata", tag = "history",
    params(("id" = u32, Path, description = "The movement's number")), request_body = Object, responses(
    (status = 200, description = "The metadata was changed"),
    (status = 400, description = "The patch is no object", body = BadRequestError),
    (status = 404, description = "There is no such movement", body = NotFoundError),
    NeedsWallet,
))]
async fn update_metadata(
    State(app): State<App>,
    Path(id): Path<u32>,
    Json(patch): Json<Value>,
) -> Result<(), ApiError> {
    let wallet = app.wallet()?;
    detached(async move { wallet.update_metadata(MovementId(id), patch).await }).await
}
