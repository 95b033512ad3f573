//! `GET /wallet/history`: an older name of `GET /history`.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::movement::Movement;
use crate::wallet::HistoryPage;

/// Get wallet history (deprecated)
///
/// Use `GET /history`.
#[utoipa::path(get, path = "/wallet/history", operation_id = "history", tag = "wallet", responses(
    (status = 200, description = "The history, newest first", body = [Movement]),
    NeedsWallet,
))]
#[deprecated]
pub(super) async fn history(State(app): State<App>) -> Result<Json<Vec<Movement>>, ApiError> {
    let movements = app.wallet()?.history(HistoryPage::default()).await?;
    Ok(Json(movements.into_iter().map(Into::into).collect()))
}
