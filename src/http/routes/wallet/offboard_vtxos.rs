//! `POST /wallet/offboard/vtxos`: move given VTXOs on chain.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached, parse_vtxo_ids};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::idempotency_key::IdempotencyKey;
use crate::http::schema::offboard::{OffboardResult, offboard_answer};

#[derive(Deserialize, ToSchema)]
pub(super) struct OffboardVtxosRequest {
    /// The VTXOs, `txid:vout`.
    vtxos: Vec<String>,
    /// A bitcoin address; without it, a new address of the on-chain wallet.
    address: Option<String>,
}

/// Offboard specific VTXOs
///
/// Moves whole VTXOs on chain; the fee is deducted from them. Answers when the transaction was broadcast. If that
/// takes longer than 20 seconds the offboard is stored and continues in the background, and must not be repeated, unless with its
/// Idempotency-Key: the answer is 202 if the transaction is signed, otherwise 504 `still_in_progress`.
#[utoipa::path(post, path = "/wallet/offboard/vtxos", operation_id = "offboard_vtxos", tag = "wallet", request_body = OffboardVtxosRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The transaction was broadcast", body = OffboardResult),
    (status = 202, description = "The transaction is signed; it is broadcast in the background", body = OffboardResult),
    (status = 400, description = "A VTXO id or the address is invalid, or the total is too small", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "A VTXO cannot be offboarded now, or the Ark server refused the request", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable; nothing was paid", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn offboard_vtxos(
    State(app): State<App>,
    Json(request): Json<OffboardVtxosRequest>,
) -> Result<(StatusCode, Json<OffboardResult>), ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    let outcome = detached(async move {
        let address = request.address.as_deref();
        wallet.offboard_vtxos(vtxos, address).await
    })
    .await?;
    Ok(offboard_answer(outcome))
}
