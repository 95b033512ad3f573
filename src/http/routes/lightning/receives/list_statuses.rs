//! `GET /lightning/receives`: the receives that have not ended.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;
use crate::http::schema::lightning_receive::LightningReceiveInfo;

/// List unfinished Lightning receives
///
/// Oldest first. Receives that are settled, canceled or expired are left out.
#[utoipa::path(get, path = "/lightning/receives", operation_id = "list_receive_statuses", tag = "lightning", responses(
    (status = 200, description = "The receives", body = [LightningReceiveInfo]),
    NeedsWallet,
))]
pub(super) async fn list_receive_statuses(
    State(app): State<App>,
) -> Result<Json<Vec<LightningReceiveInfo>>, ApiError> {
    let receives = app.wallet()?.unfinished_receives().await?;
    Ok(Json(receives.into_iter().map(Into::into).collect()))
}
