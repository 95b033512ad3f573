//! Two older names of `GET /history`.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::movement::Movement;
use crate::wallet::HistoryPage;

#[expect(deprecated, reason = "that is how the document learns that they are")]
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(history))
        .routes(routes!(movements))
}

/// Get wallet history (deprecated)
///
/// Use `GET /history`.
#[utoipa::path(get, path = "/wallet/history", operation_id = "history", tag = "wallet", responses(
    (status = 200, description = "The history, newest first", body = [Movement]),
    NeedsWallet,
))]
#[deprecated]
async fn history(state: State<App>) -> Result<Json<Vec<Movement>>, ApiError> {
    all(state).await
}

/// List movements (deprecated)
///
/// Use `GET /history`.
#[utoipa::path(get, path = "/wallet/movements", operation_id = "movements", tag = "wallet", responses(
    (status = 200, description = "The history, newest first", body = [Movement]),
    NeedsWallet,
))]
#[deprecated]
async fn movements(state: State<App>) -> Result<Json<Vec<Movement>>, ApiError> {
    all(state).await
}

async fn all(State(app): State<App>) -> Result<Json<Vec<Movement>>, ApiError> {
    let movements = app.wallet()?.history(HistoryPage::default()).await?;
    Ok(Json(movements.into_iter().map(Into::into).collect()))
}
