//! `POST /boards/board-amount`: board a given amount.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::board::PendingBoardInfo;
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::wallet::BoardAmount;

#[derive(Deserialize, ToSchema)]
pub(super) struct BoardRequest {
    /// The amount to board, in satoshis; the board fee is deducted from it.
    amount_sat: AmountSat,
}

/// Board a specific amount
///
/// Moves on-chain bitcoin into the Ark. The new VTXO can be spent once its funding transaction has the confirmations that the Ark
/// server requires. If the Ark server has not signed within 20 seconds, the answer is 504 `still_in_progress`: the board continues in the
/// background, and must not be repeated, unless with its Idempotency-Key.
#[utoipa::path(post, path = "/boards/board-amount", operation_id = "board_amount", tag = "boards", request_body = BoardRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The funding transaction was broadcast, or is signed and will be", body = PendingBoardInfo),
    (status = 400, description = "The amount is out of bounds, or the on-chain balance is too low", body = BadRequestError),
    (status = 409, description = "The Ark server refused the request", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn board_amount(
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
