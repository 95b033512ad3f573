//! `GET /exits/fee`: what exits would cost.

use axum::extract::State;
use bitcoin::FeeRate;
use bitcoin_ext::FeeRateExt;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query, parse_vtxo_ids};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::exit_fee::EmergencyExitFeeEstimateResponse;
use crate::wallet::ExitQuestion;

/// What the fees are multiplied with unless the request says otherwise.
const MARGIN: f64 = 1.2;
/// The highest fee rate of a request, in sat/vB.
const MAX_FEE_RATE: f64 = 1_000_000.0;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EmergencyExitFeeEstimateQuery {
    /// VTXO ids, `txid:vout`, separated by commas; without it, all that are spendable.
    vtxo_ids: Option<String>,
    /// The fee rate of all transactions in sat/vB; without it, the fast one for the exit and the regular one for the claim.
    fee_rate_sat_per_vb: Option<f64>,
    /// The bitcoin address to which the exits are claimed; without it, a taproot address.
    destination: Option<String>,
    /// What the fees of the exit transactions are multiplied with, because fee rates change and a child may need several coins;
    /// 1.2 without it.
    fee_margin: Option<f64>,
}

/// Estimate emergency exit fee
///
/// Says what it would cost to exit VTXOs now, how long it would take, and whether the on-chain wallet can pay for it. Does nothing.
#[utoipa::path(get, path = "/exits/fee", operation_id = "emergency_exit_fee", tag = "exits", params(EmergencyExitFeeEstimateQuery), responses(
    (status = 200, description = "The estimate", body = EmergencyExitFeeEstimateResponse),
    (status = 400, description = "A VTXO is unknown, too small, exited, spent or swept, or a parameter is invalid", body = BadRequestError),
    (status = 503, description = "The chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn emergency_exit_fee(
    State(app): State<App>,
    Query(query): Query<EmergencyExitFeeEstimateQuery>,
) -> Result<Json<EmergencyExitFeeEstimateResponse>, ApiError> {
    let wallet = app.wallet()?;
    let question = ExitQuestion {
        vtxos: query.vtxo_ids.as_deref().map(vtxo_ids).transpose()?,
        fee_rate: query.fee_rate_sat_per_vb.map(fee_rate).transpose()?,
        destination: query.destination,
        margin: margin(query.fee_margin.unwrap_or(MARGIN))?,
    };
    Ok(Json(wallet.estimate_exits(question).await?.into()))
}

fn vtxo_ids(list: &str) -> Result<Vec<ark_lib::VtxoId>, ApiError> {
    let ids = list.split(',').map(str::trim).filter(|id| !id.is_empty());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    parse_vtxo_ids(&ids)
}

fn fee_rate(sat_per_vb: f64) -> Result<FeeRate, ApiError> {
    let possible = (0.0..=MAX_FEE_RATE).contains(&sat_per_vb);
    let rate = possible.then(|| FeeRate::from_sat_per_vb_decimal_checked_ceil(sat_per_vb));
    rate.flatten().ok_or_else(|| {
        let message = format!("fee_rate_sat_per_vb has to be a number from 0 to {MAX_FEE_RATE}");
        ApiError::bad_request("invalid_fee_rate", message)
    })
}

fn margin(margin: f64) -> Result<f64, ApiError> {
    if margin.is_finite() && margin >= 0.0 {
        return Ok(margin);
    }
    let message = "fee_margin has to be a number of at least 0";
    Err(ApiError::bad_request("invalid_fee_margin", message))
}
