//! `GET /fees/send-onchain`: the fee of an on-chain payment from VTXOs.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::fee::FeeEstimate;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SendOnchainFeeQuery {
    /// The amount that the payee receives, in satoshis.
    #[param(inline)]
    amount_sat: AmountSat,
    /// A bitcoin address.
    address: String,
}

/// Estimate send-onchain fee
///
/// The fee comes on top of the amount.
#[utoipa::path(get, path = "/fees/send-onchain", operation_id = "send_onchain_fee", tag = "fees", params(SendOnchainFeeQuery), responses(
    (status = 200, description = "The estimate", body = FeeEstimate),
    (status = 400, description = "The address or the amount is invalid", body = BadRequestError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn send_onchain_fee(
    State(app): State<App>,
    Query(query): Query<SendOnchainFeeQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let amount = query.amount_sat.check()?;
    Ok(Json(
        wallet
            .send_onchain_fee(&query.address, amount)
            .await?
            .into(),
    ))
}
