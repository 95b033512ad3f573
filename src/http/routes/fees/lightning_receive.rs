//! `GET /fees/lightning/receive`: the fee of a Lightning receive.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::fee::{AmountQuery, FeeEstimate};

/// Estimate Lightning receive fee
///
/// The fee is deducted from the amount.
#[utoipa::path(get, path = "/fees/lightning/receive", operation_id = "lightning_receive_fee", tag = "fees", params(AmountQuery), responses(
    (status = 200, description = "The estimate", body = FeeEstimate),
    (status = 400, description = "The amount is invalid", body = BadRequestError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn lightning_receive_fee(
    State(app): State<App>,
    Query(query): Query<AmountQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let amount = query.amount_sat.check()?;
    Ok(Json(wallet.lightning_receive_fee(amount).await?.into()))
}
