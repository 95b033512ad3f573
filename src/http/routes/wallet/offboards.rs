//! Taking VTXOs on chain through the Ark server.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rounds::parse_ids;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{AmountSat, Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::wallet::OffboardOutcome;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(offboard_vtxos))
        .routes(routes!(offboard_all))
        .routes(routes!(send_onchain))
}

/// An on-chain payment out of VTXOs.
#[derive(Serialize, ToSchema)]
struct OffboardResult {
    /// The transaction; missing only while the Ark server has not named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required)]
    offboard_txid: Option<String>,
    /// Its entry in the history.
    movement_id: u32,
}

/// 200 when the transaction is out, 202 when that goes on by itself.
fn answer(outcome: OffboardOutcome) -> (StatusCode, Json<OffboardResult>) {
    let status = if outcome.finished {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let result = OffboardResult {
        offboard_txid: outcome.txid.map(|txid| txid.to_string()),
        movement_id: outcome.movement.0,
    };
    (status, Json(result))
}

#[derive(Deserialize, ToSchema)]
struct OffboardVtxosRequest {
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
    /// A bitcoin address; the on-chain wallet when it is missing.
    address: Option<String>,
}

/// Offboard specific VTXOs
///
/// Takes VTXOs on chain as a whole; the fee comes out of them. Answers when the transaction is out. If that takes too long the
/// answer is 202: the offboard is stored and goes on by itself, and must not be repeated.
#[utoipa::path(post, path = "/wallet/offboard/vtxos", operation_id = "offboard_vtxos", tag = "wallet", request_body = OffboardVtxosRequest, responses(
    (status = 200, description = "The transaction is out", body = OffboardResult),
    (status = 202, description = "The offboard goes on by itself", body = OffboardResult),
    (status = 400, description = "A VTXO or the address is not right, or they are too little", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be offboarded now, or the server refused", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn offboard_vtxos(
    State(app): State<App>,
    Json(request): Json<OffboardVtxosRequest>,
) -> Result<(StatusCode, Json<OffboardResult>), ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_ids(&request.vtxos)?;
    let outcome = detached(async move {
        let address = request.address.as_deref();
        wallet.offboard_vtxos(vtxos, address).await
    })
    .await?;
    Ok(answer(outcome))
}

#[derive(Default, Deserialize, ToSchema)]
struct OffboardAllRequest {
    /// A bitcoin address; the on-chain wallet when it is missing.
    address: Option<String>,
}

/// Offboard all VTXOs
///
/// As for specific ones. The body may be left out.
#[utoipa::path(post, path = "/wallet/offboard/all", operation_id = "offboard_all", tag = "wallet", request_body = OffboardAllRequest, responses(
    (status = 200, description = "The transaction is out", body = OffboardResult),
    (status = 202, description = "The offboard goes on by itself", body = OffboardResult),
    (status = 400, description = "The address is not right, or there is nothing or too little", body = BadRequestError),
    (status = 409, description = "A VTXO cannot be offboarded now, or the server refused", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn offboard_all(
    State(app): State<App>,
    body: Bytes,
) -> Result<(StatusCode, Json<OffboardResult>), ApiError> {
    let wallet = app.wallet()?;
    let request: OffboardAllRequest = if body.is_empty() {
        OffboardAllRequest::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| ApiError::bad_request("malformed_body", error.to_string()))?
    };
    let outcome =
        detached(async move { wallet.offboard_all(request.address.as_deref()).await }).await?;
    Ok(answer(outcome))
}

#[derive(Deserialize, ToSchema)]
struct SendOnchainRequest {
    /// A bitcoin address.
    destination: String,
    /// How much it gets, in satoshis; the fee comes on top.
    amount_sat: AmountSat,
}

/// Send on-chain
///
/// Pays exactly this much to an on-chain address out of VTXOs. Answers when the transaction is out. If that takes too long the
/// answer is 202: the payment is stored and goes on by itself, and must not be repeated.
#[utoipa::path(post, path = "/wallet/send-onchain", operation_id = "send_onchain", tag = "wallet", request_body = SendOnchainRequest, responses(
    (status = 200, description = "The transaction is out", body = OffboardResult),
    (status = 202, description = "The payment goes on by itself", body = OffboardResult),
    (status = 400, description = "The address or the amount is not right, or there is too little", body = BadRequestError),
    (status = 409, description = "The Ark server refused", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is out of reach; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
async fn send_onchain(
    State(app): State<App>,
    Json(request): Json<SendOnchainRequest>,
) -> Result<(StatusCode, Json<OffboardResult>), ApiError> {
    let wallet = app.wallet()?;
    let amount = request.amount_sat.check()?;
    let outcome =
        detached(async move { wallet.send_onchain(&request.destination, amount).await }).await?;
    Ok(answer(outcome))
}
