//! `GET /boards/pending`: the boards that wait for confirmations.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::board::PendingBoardInfo;
use crate::http::schema::error::NeedsWallet;

/// List pending boards
///
/// The boards whose funding transaction waits for confirmations, oldest first.
#[utoipa::path(get, path = "/boards/pending", operation_id = "get_pending_boards", tag = "boards", responses(
    (status = 200, description = "The pending boards", body = [PendingBoardInfo]),
    NeedsWallet,
))]
pub(super) async fn get_pending_boards(
    State(app): State<App>,
) -> Result<Json<Vec<PendingBoardInfo>>, ApiError> {
    let boards = app.wallet()?.pending_boards().await?;
    Ok(Json(boards.into_iter().map(Into::into).collect()))
}
