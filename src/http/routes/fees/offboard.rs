//! `POST /fees/offboard`: the fee of offboarding given VTXOs.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, parse_vtxo_ids};
use crate::http::schema::error::{
    BadRequestError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::fee::FeeEstimate;

#[derive(Deserialize, ToSchema)]
pub(super) struct OffboardFeeRequest {
    /// A bitcoin address.
    address: String,
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
}

/// Estimate offboard fee
///
/// The fee is deducted from the VTXOs.
#[utoipa::path(post, path = "/fees/offboard", operation_id = "offboard_fee", tag = "fees", request_body = OffboardFeeRequest, responses(
    (status = 200, description = "The estimate", body = FeeEstimate),
    (status = 400, description = "A VTXO id or the address is invalid", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn offboard_fee(
    State(app): State<App>,
    Json(request): Json<OffboardFeeRequest>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    Ok(Json(
        wallet.offboard_fee(vtxos, &request.address).await?.into(),
    ))
}
