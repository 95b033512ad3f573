//! `GET /fees/board`: the fee of a board.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::fee::{AmountQuery, FeeEstimate};

/// Estimate board fee
///
/// The fee is deducted from the amount. The on-chain fee of the funding transaction is not included.
#[utoipa::path(get, path = "/fees/board", operation_id = "board_fee", tag = "fees", params(AmountQuery), responses(
    (status = 200, description = "The estimate", body = FeeEstimate),
    (status = 400, description = "The amount is invalid", body = BadRequestError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn board_fee(
    State(app): State<App>,
    Query(query): Query<AmountQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    Ok(Json(
        wallet.board_fee(query.amount_sat.check()?).await?.into(),
    ))
}
