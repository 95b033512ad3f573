//! `POST /boards/board-all`: board all on-chain bitcoin.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::board::PendingBoardInfo;
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::wallet::BoardAmount;

/// Board all on-chain bitcoin
///
/// Answers 504 as for a specific amount.
#[utoipa::path(post, path = "/boards/board-all", operation_id = "board_all", tag = "boards", params(IdempotencyKey), responses(
    (status = 200, description = "The funding transaction was broadcast, or is signed and will be", body = PendingBoardInfo),
    (status = 400, description = "There is nothing or too little to board", body = BadRequestError),
    (status = 409, description = "The Ark server refused the request", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn board_all(State(app): State<App>) -> Result<Json<PendingBoardInfo>, ApiError> {
    let wallet = app.wallet()?;
    Ok(Json(
        detached(async move { wallet.board(BoardAmount::All).await })
            .await?
            .into(),
    ))
}
