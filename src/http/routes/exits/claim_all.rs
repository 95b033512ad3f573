//! `POST /exits/claim/all`: claim all exited outputs.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::exit_claim::{ExitClaimResponse, parse_fee_rate};
use crate::http::schema::idempotency_key::IdempotencyKey;

#[derive(Deserialize, ToSchema)]
pub(super) struct ExitClaimAllRequest {
    /// A bitcoin address.
    destination: String,
    /// The fee rate in sat/kvB; without it, the regular one.
    fee_rate: Option<u64>,
}

/// Claim all exited VTXOs
///
/// Sends all exited outputs that can be claimed, and that no earlier claim spends, to one address with one transaction. Outputs that
/// are worth less than the fee for spending them are left out.
#[utoipa::path(post, path = "/exits/claim/all", operation_id = "exit_claim_all", tag = "exits", request_body = ExitClaimAllRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The claim is stored, and broadcast unless the message says otherwise", body = ExitClaimResponse),
    (status = 400, description = "Nothing can be claimed, the address or the fee rate is invalid, or the fee leaves too little", body = BadRequestError),
    (status = 409, description = "An exit has changed at this moment", body = ConflictError),
    (status = 503, description = "The chain is unreachable; nothing was signed", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn exit_claim_all(
    State(app): State<App>,
    Json(request): Json<ExitClaimAllRequest>,
) -> Result<Json<ExitClaimResponse>, ApiError> {
    let wallet = app.wallet()?;
    let fee_rate = parse_fee_rate(request.fee_rate)?;
    let claim = async move { wallet.claim_all_exits(&request.destination, fee_rate).await };
    Ok(Json(detached(claim).await?.into()))
}
