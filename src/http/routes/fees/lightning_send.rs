//! `GET /fees/lightning/pay`: the fee of a Lightning payment.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::fee::{AmountQuery, FeeEstimate};

/// Estimate Lightning send fee
///
/// The fee comes on top of the amount.
#[utoipa::path(get, path = "/fees/lightning/pay", operation_id = "lightning_send_fee", tag = "fees", params(AmountQuery), responses(
    (status = 200, description = "The estimate", body = FeeEstimate),
    (status = 400, description = "The amount is invalid", body = BadRequestError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn lightning_send_fee(
    State(app): State<App>,
    Query(query): Query<AmountQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let amount = query.amount_sat.check()?;
    Ok(Json(wallet.lightning_send_fee(amount).await?.into()))
}
