//! `POST /exits/start/vtxos`: exit these VTXOs.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached, parse_vtxo_ids};
use crate::http::schema::error::{BadRequestError, ConflictError, NeedsWallet, NotFoundError};
use crate::http::schema::exit_start::ExitStartResponse;
use crate::http::schema::idempotency_key::IdempotencyKey;

#[derive(Deserialize, ToSchema)]
pub(super) struct ExitStartRequest {
    /// The VTXOs to exit, `txid:vout`.
    vtxos: Vec<String>,
}

/// Exit VTXOs
///
/// Starts the unilateral exit of these VTXOs. Those that are spent, exiting already, or held by another operation than a round or a
/// board are skipped. The exits go on in the background, without the Ark server; the on-chain wallet pays for their transactions.
#[utoipa::path(post, path = "/exits/start/vtxos", operation_id = "exit_start_vtxos", tag = "exits", request_body = ExitStartRequest, params(IdempotencyKey), responses(
    (status = 200, description = "The exits are under way", body = ExitStartResponse),
    (status = 400, description = "No VTXO is named, an id is invalid, or the network would not relay an exit", body = BadRequestError),
    (status = 404, description = "The wallet has no such VTXO", body = NotFoundError),
    (status = 409, description = "The same request is being carried out", body = ConflictError),
    NeedsWallet,
))]
pub(super) async fn exit_start_vtxos(
    State(app): State<App>,
    Json(request): Json<ExitStartRequest>,
) -> Result<Json<ExitStartResponse>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    let begun = detached(async move { wallet.start_exits(vtxos).await }).await?;
    Ok(Json(begun.into()))
}
