//! `boards`: on-chain bitcoin becomes a VTXO.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::transaction::TransactionInfo;
use crate::wallet::{BoardAmount, PendingBoard};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(board_amount))
        .routes(routes!(board_all))
        .routes(routes!(get_pending_boards))
}

#[derive(Deserialize, ToSchema)]
struct BoardRequest {
    /// How much to move, before the board fee, in satoshis.
    amount_sat: AmountSat,
}

/// A board that waits for confirmations.
#[derive(Serialize, ToSchema)]
struct PendingBoardInfo {
    /// The transaction that has to confirm.
    funding_tx: TransactionInfo,
    /// The VTXOs that it brings.
    vtxos: Vec<String>,
    /// What it brings after the board fee, in satoshis.
    amount_sat: u64,
    /// Its entry in the history.
    movement_id: u32,
}

impl From<PendingBoard> for PendingBoardInfo {
    fn from(board: PendingBoard) -> Self {
        Self {
            funding_tx: (&board.funding_tx).into(),
            vtxos: board.vtxos.iter().map(ToString::to_string).collect(),
            amount_sat: board.amount.to_sat(),
            movement_id: board.movement.0,
        }
    }
}

/// Board a specific amount
///
/// Moves on-chain bitcoin into the Ark. The VTXO can be spent once its funding transaction is confirmed.
#[utoipa::path(post, path = "/boards/board-amount", operation_id = "board_amount", tag = "boards", request_body = BoardRequest, responses(
    (status = 200, description = "The board is on its way", body = PendingBoardInfo),
    (status = 400, description = "The amount is out of bounds or not there", body = BadRequestError),
    (status = 409, description = "The Ark server refused", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn board_amount(
    State(app): State<App>,
    Json(request): Json<BoardRequest>,
) -> Result<Json<PendingBoardInfo>, ApiError> {
    let wallet = app.wallet()?;
    let amount = BoardAmount::Exact(request.amount_sat.check()?);
    Ok(Json(
        detached(async move { wallet.board(amount).await })
            .await?
            .into(),
    ))
}

/// Board all on-chain bitcoin
#[utoipa::path(post, path = "/boards/board-all", operation_id = "board_all", tag = "boards", responses(
    (status = 200, description = "The board is on its way", body = PendingBoardInfo),
    (status = 400, description = "There is nothing or too little to board", body = BadRequestError),
    (status = 409, description = "The Ark server refused", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn board_all(State(app): State<App>) -> Result<Json<PendingBoardInfo>, ApiError> {
    let wallet = app.wallet()?;
    Ok(Json(
        detached(async move { wallet.board(BoardAmount::All).await })
            .await?
            .into(),
    ))
}

/// List pending boards
///
/// The boards that wait for confirmations, oldest first.
#[utoipa::path(get, path = "/boards/pending", operation_id = "get_pending_boards", tag = "boards", responses(
    (status = 200, description = "The pending boards", body = [PendingBoardInfo]),
    NeedsWallet,
))]
async fn get_pending_boards(
    State(app): State<App>,
) -> Result<Json<Vec<PendingBoardInfo>>, ApiError> {
    let boards = app.wallet()?.pending_boards().await?;
    Ok(Json(boards.into_iter().map(Into::into).collect()))
}
