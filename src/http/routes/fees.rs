//! `fees`: what the Ark server's part of an operation costs, before it is done.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wallet::parse_ids;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, Query};
use crate::http::schema::error::{
    BadRequestError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::wallet;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(board_fee))
        .routes(routes!(send_onchain_fee))
        .routes(routes!(offboard_all_fee))
        .routes(routes!(offboard_fee))
        .routes(routes!(lightning_send_fee))
        .routes(routes!(lightning_receive_fee))
}

/// What an operation costs. `gross_amount_sat` is always `net_amount_sat` and `fee_sat`, unless the fee eats up everything.
#[derive(Serialize, ToSchema)]
struct FeeEstimate {
    /// What leaves the payer, in satoshis.
    gross_amount_sat: u64,
    /// What the Ark server takes of it, in satoshis.
    fee_sat: u64,
    /// What arrives, in satoshis.
    net_amount_sat: u64,
    /// The VTXOs that would pay, `txid:vout`; none when there are not enough, and then the fee is the highest possible.
    vtxos_spent: Vec<String>,
}

impl From<wallet::FeeEstimate> for FeeEstimate {
    fn from(estimate: wallet::FeeEstimate) -> Self {
        FeeEstimate {
            gross_amount_sat: estimate.gross.to_sat(),
            fee_sat: estimate.fee.to_sat(),
            net_amount_sat: estimate.net.to_sat(),
            vtxos_spent: estimate.vtxos.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AmountQuery {
    /// How much, in satoshis.
    #[param(value_type = u64)]
    amount_sat: AmountSat,
}

/// Estimate board fee
///
/// The fee comes out of the amount. The on-chain fee is not in it.
#[utoipa::path(get, path = "/fees/board", operation_id = "board_fee", tag = "fees", params(AmountQuery), responses(
    (status = 200, description = "What it costs", body = FeeEstimate),
    (status = 400, description = "The amount is not right", body = BadRequestError),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn board_fee(
    State(app): State<App>,
    Query(query): Query<AmountQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    Ok(Json(wallet.board_fee(query.amount_sat.check()?)?.into()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SendOnchainFeeQuery {
    /// How much is to arrive, in satoshis.
    #[param(value_type = u64)]
    amount_sat: AmountSat,
    /// A bitcoin address.
    address: String,
}

/// Estimate send-onchain fee
///
/// The fee comes on top of the amount.
#[utoipa::path(get, path = "/fees/send-onchain", operation_id = "send_onchain_fee", tag = "fees", params(SendOnchainFeeQuery), responses(
    (status = 200, description = "What it costs", body = FeeEstimate),
    (status = 400, description = "The address or the amount is not right", body = BadRequestError),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn send_onchain_fee(
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

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AddressQuery {
    /// A bitcoin address.
    address: String,
}

/// Estimate offboard-all fee
///
/// The fee comes out of the VTXOs.
#[utoipa::path(get, path = "/fees/offboard-all", operation_id = "offboard_all_fee", tag = "fees", params(AddressQuery), responses(
    (status = 200, description = "What it costs", body = FeeEstimate),
    (status = 400, description = "The address is not right", body = BadRequestError),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn offboard_all_fee(
    State(app): State<App>,
    Query(query): Query<AddressQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    Ok(Json(wallet.offboard_all_fee(&query.address).await?.into()))
}

#[derive(Deserialize, ToSchema)]
struct OffboardFeeRequest {
    /// A bitcoin address.
    address: String,
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
}

/// Estimate offboard fee
///
/// The fee comes out of the VTXOs.
#[utoipa::path(post, path = "/fees/offboard", operation_id = "offboard_fee", tag = "fees", request_body = OffboardFeeRequest, responses(
    (status = 200, description = "What it costs", body = FeeEstimate),
    (status = 400, description = "A VTXO or the address is not right", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn offboard_fee(
    State(app): State<App>,
    Json(request): Json<OffboardFeeRequest>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_ids(&request.vtxos)?;
    Ok(Json(
        wallet.offboard_fee(vtxos, &request.address).await?.into(),
    ))
}

/// Estimate Lightning send fee
///
/// The fee comes on top of the amount.
#[utoipa::path(get, path = "/fees/lightning/pay", operation_id = "lightning_send_fee", tag = "fees", params(AmountQuery), responses(
    (status = 200, description = "What it costs", body = FeeEstimate),
    (status = 400, description = "The amount is not right", body = BadRequestError),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn lightning_send_fee(
    State(app): State<App>,
    Query(query): Query<AmountQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let amount = query.amount_sat.check()?;
    Ok(Json(wallet.lightning_send_fee(amount).await?.into()))
}

/// Estimate Lightning receive fee
///
/// The fee comes out of the amount.
#[utoipa::path(get, path = "/fees/lightning/receive", operation_id = "lightning_receive_fee", tag = "fees", params(AmountQuery), responses(
    (status = 200, description = "What it costs", body = FeeEstimate),
    (status = 400, description = "The amount is not right", body = BadRequestError),
    (status = 503, description = "The Ark server is out of reach", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn lightning_receive_fee(
    State(app): State<App>,
    Query(query): Query<AmountQuery>,
) -> Result<Json<FeeEstimate>, ApiError> {
    let wallet = app.wallet()?;
    let amount = query.amount_sat.check()?;
    Ok(Json(wallet.lightning_receive_fee(amount)?.into()))
}
