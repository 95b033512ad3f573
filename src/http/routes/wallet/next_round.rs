//! `GET /wallet/next-round`: when the next round starts.

use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use chrono::{DateTime, Local, SecondsFormat};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::{NeedsWallet, NotFoundError, ServiceUnavailableError};

/// The end of the year 9999, seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

#[derive(Serialize, ToSchema)]
pub(super) struct NextRoundStart {
    /// Start of the next round, RFC 3339.
    #[schema(format = DateTime)]
    start_time: String,
}

/// Get next round time
#[utoipa::path(get, path = "/wallet/next-round", operation_id = "next_round", tag = "wallet", responses(
    (status = 200, description = "When the next round starts", body = NextRoundStart),
    (status = 404, description = "The Ark server has not been reached since the daemon started, or has scheduled no round", body = NotFoundError),
    (status = 503, description = "The Ark server is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn next_round(State(app): State<App>) -> Result<Json<NextRoundStart>, ApiError> {
    let seconds = app.wallet()?.next_round().await?;
    let start = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .filter(|_| seconds <= LAST_SECOND)
        .ok_or_else(|| ApiError::internal(format!("round at {seconds} seconds")))?;
    let start: DateTime<Local> = start.into();
    Ok(Json(NextRoundStart {
        start_time: start.to_rfc3339_opts(SecondsFormat::Secs, false),
    }))
}
