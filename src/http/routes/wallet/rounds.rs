//! `GET /wallet/rounds`: the participations in rounds that are in progress.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::round::PendingRoundInfo;

/// List round participations
///
/// The participations in progress, oldest first. The result of one that is done or has failed is in its movement.
#[utoipa::path(get, path = "/wallet/rounds", operation_id = "pending_rounds", tag = "wallet", responses(
    (status = 200, description = "The participations", body = [PendingRoundInfo]),
    NeedsWallet,
))]
pub(super) async fn pending_rounds(
    State(app): State<App>,
) -> Result<Json<Vec<PendingRoundInfo>>, ApiError> {
    let rounds = app.wallet()?.pending_rounds().await?;
    Ok(Json(rounds.into_iter().map(Into::into).collect()))
}
