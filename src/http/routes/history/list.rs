//! `GET /history`: the movements, newest first.

use std::num::NonZeroU32;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::idempotency::key;
use crate::http::schema::error::{BadRequestError, NeedsWallet};
use crate::http::schema::movement::Movement;
use crate::wallet::{HistoryPage, MovementId, payment_method};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// `ark`, `bitcoin`, `output-script`, `invoice`, `offer`, `lightning-address`, `lnurl` or `custom`; goes with `value`.
    r#type: Option<String>,
    /// The address, invoice or other text of that method; goes with `type`.
    value: Option<String>,
    /// Only the movements that requests with this `Idempotency-Key` began; none if the key is unknown.
    idempotency_key: Option<String>,
    /// Maximum number of entries, at least 1; without it, all.
    #[param(value_type = Option<u32>, format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    limit: Option<NonZeroU32>,
    /// Only movements older than the one with this id. For the next page, pass the last `id` of the previous page.
    #[param(format = Int64, minimum = 0, maximum = 4_294_967_295_u32)]
    before: Option<u32>,
}

impl Filter {
    fn page(self) -> Result<HistoryPage, ApiError> {
        let method = match (self.r#type, self.value) {
            (None, None) => None,
            (Some(kind), Some(value)) => Some(payment_method(&kind, &value)?),
            _ => {
                let message = "type and value go together; set both or neither";
                return Err(ApiError::bad_request("invalid_filter", message));
            }
        };
        let idempotency_key = self.idempotency_key.as_deref().map(key::read).transpose()?;
        Ok(HistoryPage {
            method,
            idempotency_key,
            before: self.before.map(MovementId),
            limit: self.limit.map(NonZeroU32::get),
        })
    }
}

/// Get wallet history
///
/// The movements, newest first; only those to or from one payment method when `type` and `value` are given, in the same order. Long
/// histories can be read in pages with `limit` and `before`.
#[utoipa::path(get, path = "/history", operation_id = "list", tag = "history", params(Filter), responses(
    (status = 200, description = "The history", body = [Movement]),
    (status = 400, description = "The type is unknown, the value is none of its type, or one of them is missing", body = BadRequestError),
    NeedsWallet,
))]
pub(super) async fn list(
    State(app): State<App>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Movement>>, ApiError> {
    let movements = app.wallet()?.history(filter.page()?).await?;
    Ok(Json(movements.into_iter().map(Into::into).collect()))
}
