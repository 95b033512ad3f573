//! `GET /wallet/movements`: an older name of `GET /history`.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::movement::Movement;
use crate::wallet::HistoryPage;

/// List movements (deprecated)
///
/// Use `GET /history`.
#[utoipa::path(get, path = "/wallet/movements", operation_id = "movements", tag = "wallet", responses(
    (status = 200, description = "The history, newest first", body = [Movement]),
    NeedsWallet,
))]
#[deprecated]
pub(super) async fn movements(State(app): State<App>) -> Result<Json<Vec<Movement>>, ApiError> {
    let movements = app.wallet()?.history(HistoryPage::default()).await?;
    Ok(Json(movements.into_iter().map(Into::into).collect()))
}
