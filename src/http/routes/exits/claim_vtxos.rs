//! `POST /exits/claim/vtxos`: claim given exited outputs.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached, parse_vtxo_ids};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::exit_claim::{ExitClaimResponse, parse_fee_rate};
use crate::http::schema::idempotency_key::IdempotencyKey;

#[derive(Deserialize, ToSchema)]
pub(super) struct ExitClaimVtxosRequest {
    /// A bitcoin address.
    destination: String,
    /// The exited VTXOs, `txid:vout`.
    vtxos: Vec<String>,
    /// The fee rate in sat/kvB; without it, the regular one.
    fee_rate: Option<u64>,
}

/// Claim specific exited VTXOs
///
/// Sends the outputs of these exits to one address with one transaction. An unconfirmed claim of the same VTXOs is replaced if the new
/// one pays a higher fee; the same request again repeats it.
#[utoipa::path(post, path = "/exits/claim/vtxos", operation_id = "exit_claim_vtxos", tag = "exits", request_body = ExitClaimVtxosRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The claim is stored, and broadcast unless the message says otherwise", body = ExitClaimResponse),
    (status = 400, description = "A VTXO cannot be claimed, an id, the address or the fee rate is invalid, or the fee leaves too little", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    (status = 409, description = "An exit has changed at this moment", body = ConflictError),
    (status = 503, description = "The chain is unreachable; nothing was signed", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn exit_claim_vtxos(
    State(app): State<App>,
    Json(request): Json<ExitClaimVtxosRequest>,
) -> Result<Json<ExitClaimResponse>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    let fee_rate = parse_fee_rate(request.fee_rate)?;
    let claim = async move {
        wallet
            .claim_exits(vtxos, &request.destination, fee_rate)
            .await
    };
    Ok(Json(detached(claim).await?.into()))
}
