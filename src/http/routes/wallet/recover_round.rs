//! `POST /wallet/rounds/{unlock_hash}/recover`: complete a round that the wallet has no record of.

use axum::extract::State;
use bitcoin::Amount;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached, parse_unlock_hash};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};
use crate::http::schema::round::PendingRoundInfo;

#[derive(Deserialize, ToSchema)]
pub(super) struct RecoverRoundRequest {
    /// The fee that the caller agrees to, in satoshis. `GET /wallet` shows the round's fee under `attention`.
    max_fee_sat: u64,
}

/// Recover a round
///
/// Completes a round that `GET /wallet` shows under `attention` as `unknown_round`: its inputs are forfeited for its outputs. Meant
/// for a refresh that was requested before an older copy of the database was restored. Do not recover a round that nobody
/// requested: the Ark server alone has signed it. The same request again returns the same participation.
#[utoipa::path(post, path = "/wallet/rounds/{unlock_hash}/recover", operation_id = "recover_round", tag = "wallet",
    params(("unlock_hash" = String, Path, description = "The unlock hash of the round, 64 hex characters", pattern = "^[0-9a-f]{64}$")),
    request_body = RecoverRoundRequest, responses(
    (status = 200, description = "The participation", body = PendingRoundInfo),
    (status = 400, description = "The unlock hash is invalid", body = BadRequestError),
    (status = 404, description = "The Ark server has issued no such round", body = NotFoundError),
    (status = 409, description = "The round is not ours or not valid, or keeps more than `max_fee_sat`", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn recover_round(
    State(app): State<App>,
    Path(unlock_hash): Path<String>,
    Json(request): Json<RecoverRoundRequest>,
) -> Result<Json<PendingRoundInfo>, ApiError> {
    let wallet = app.wallet()?;
    let hash = parse_unlock_hash(&unlock_hash)?;
    let max_fee = Amount::from_sat(request.max_fee_sat);
    let round = detached(async move { wallet.recover_round(hash, max_fee).await }).await?;
    Ok(Json(round.into()))
}
