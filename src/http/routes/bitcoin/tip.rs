//! `GET /bitcoin/tip`: the height of the newest block.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::{NeedsWallet, ServiceUnavailableError};

#[derive(Serialize, ToSchema)]
pub(super) struct TipResponse {
    /// Height of the newest block.
    tip_height: u32,
}

/// Get bitcoin tip height
#[utoipa::path(get, path = "/bitcoin/tip", operation_id = "tip", tag = "bitcoin", responses(
    (status = 200, description = "The height of the newest block", body = TipResponse),
    (status = 503, description = "The chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn tip(State(app): State<App>) -> Result<Json<TipResponse>, ApiError> {
    let tip = app.wallet()?.tip().await?;
    Ok(Json(TipResponse {
        tip_height: tip.into(),
    }))
}
