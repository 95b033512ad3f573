//! `GET /fees/offboard-all`: the fee of offboarding everything.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet, ServiceUnavailableError};
use crate::http::schema::fee::FeeEstimate;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AddressQuery {
    /// A bitcoin address.
    address: String,
}

/// Estimate offboard-all fee
///
/// The fee is deducted from the VTXOs.
#[utoipa::path(get, path = "/fees/offboard-all", operation_id = "offboard_all_fee", tag = "fees", params(AddressQuery), responses(
    (status = 200, description = "The estimate", body = FeeEstimate),
    (status = 400, description = "The address is invalid", body = BadRequestError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn offboard_all_fee(
    State(app): State<App>,
    Query(query): Query<AddressQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    Ok(Json(wallet.offboard_all_fee(&query.address).await?.into()))
}
