//! `bitcoin`: the chain as the wallet sees it.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::{NeedsWallet, ServiceUnavailableError};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(tip))
}

#[derive(Serialize, ToSchema)]
struct TipResponse {
    /// Height of the newest block.
    tip_height: u32,
}

/// Get bitcoin tip height
#[utoipa::path(get, path = "/bitcoin/tip", operation_id = "tip", tag = "bitcoin", responses(
    (status = 200, description = "The newest block", body = TipResponse),
    (status = 503, description = "The chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn tip(State(app): State<App>) -> Result<Json<TipResponse>, ApiError> {
    let tip = app.wallet()?.tip().await?;
    Ok(Json(TipResponse {
        tip_height: tip.into(),
    }))
}
