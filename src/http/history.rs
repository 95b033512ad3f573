//! `history`: the movements, and what the user notes on them.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::error::ApiError;
use super::extract::{Json, Path, Query, detached};
use super::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use super::schema::movement::Movement;
use crate::wallet::{MovementId, PaymentMethod};

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
}

impl Filter {
    fn method(self) -> Result<Option<PaymentMethod>, ApiError> {
        match (self.r#type, self.value) {
            (None, None) => Ok(None),
            (Some(kind), Some(value)) => PaymentMethod::from_parts(&kind, value)
                .map(Some)
                .ok_or_else(|| {
                    ApiError::bad_request(
                        "invalid_filter",
                        format!("There is no payment method {kind:?}"),
                    )
                }),
            _ => Err(ApiError::bad_request(
                "invalid_filter",
                "type and value go together; give both or none",
            )),
        }
    }
}

/// Get wallet history
///
/// The movements, newest first; only those to or from one payment method when `type` and `value` are given.
#[utoipa::path(get, path = "/history", operation_id = "list", tag = "history", params(Filter), responses(
    (status = 200, description = "The history", body = [Movement]),
    (status = 400, description = "The filter is not right", body = BadRequestError),
    NeedsWallet,
))]
async fn list(
    State(app): State<App>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Movement>>, ApiError> {
    let movements = app.wallet()?.history(filter.method()?).await?;
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
