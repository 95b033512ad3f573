//! `POST /exits/start/all`: exit every VTXO.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{BadRequestError, ConflictError, NeedsWallet};
use crate::http::schema::exit_start::ExitStartResponse;
use crate::http::schema::idempotency_key::IdempotencyKey;

/// Exit all VTXOs
///
/// Starts the unilateral exit of every VTXO that is spendable, or held by a round or a board. Those that the network would not relay
/// are skipped. The exits go on in the background, without the Ark server; the on-chain wallet pays for their transactions.
#[utoipa::path(post, path = "/exits/start/all", operation_id = "exit_start_all", tag = "exits", params(IdempotencyKey), responses(
    (status = 200, description = "The exits are under way", body = ExitStartResponse),
    (status = 400, description = "The Idempotency-Key is invalid", body = BadRequestError),
    (status = 409, description = "The same request is being carried out", body = ConflictError),
    NeedsWallet,
))]
pub(super) async fn exit_start_all(
    State(app): State<App>,
) -> Result<Json<ExitStartResponse>, ApiError> {
    let wallet = app.wallet()?;
    let begun = detached(async move { wallet.start_exit_all().await }).await?;
    Ok(Json(begun.into()))
}
