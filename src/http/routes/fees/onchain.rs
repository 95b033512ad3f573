//! `GET /fees/onchain`: fee rates of the chain.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;

/// Fee rates in satoshis per virtual byte, rounded up.
#[derive(Serialize, ToSchema)]
pub(super) struct OnchainFeeRatesResponse {
    /// For the next block.
    fast_sat_per_vb: u64,
    /// For one of the next 3 blocks; the rate of the wallet's own transactions.
    regular_sat_per_vb: u64,
    /// For one of the next 6 blocks.
    slow_sat_per_vb: u64,
}

/// Get on-chain fee rates
///
/// The last estimates of the chain source, or the configured fallback before the first estimate. This makes no network call.
#[utoipa::path(get, path = "/fees/onchain", operation_id = "onchain_fee_rates", tag = "fees", responses(
    (status = 200, description = "The fee rates", body = OnchainFeeRatesResponse),
    NeedsWallet,
))]
pub(super) async fn onchain_fee_rates(
    State(app): State<App>,
) -> Result<Json<OnchainFeeRatesResponse>, ApiError> {
    let rates = app.wallet()?.onchain_fee_rates();
    Ok(Json(OnchainFeeRatesResponse {
        fast_sat_per_vb: rates.fast.to_sat_per_vb_ceil(),
        regular_sat_per_vb: rates.regular.to_sat_per_vb_ceil(),
        slow_sat_per_vb: rates.slow.to_sat_per_vb_ceil(),
    }))
}
