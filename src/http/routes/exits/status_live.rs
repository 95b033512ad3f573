//! `GET /exits/status/live`: the exits that are under way, newest first.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet};
use crate::http::schema::exit::{ExitStatusQuery, ExitTransactionStatus};
use crate::wallet::ExitFilter;

/// List live exits
///
/// The exits that are under way, newest first.
#[utoipa::path(get, path = "/exits/status/live", operation_id = "get_live_exit_status", tag = "exits", params(ExitStatusQuery), responses(
    (status = 200, description = "The exits", body = [ExitTransactionStatus]),
    (status = 400, description = "The query is invalid", body = BadRequestError),
    NeedsWallet,
))]
pub(super) async fn get_live_exit_status(
    State(app): State<App>,
    Query(query): Query<ExitStatusQuery>,
) -> Result<Json<Vec<ExitTransactionStatus>>, ApiError> {
    let exits = app.wallet()?.exits(ExitFilter::Live, query.into()).await?;
    Ok(Json(exits.into_iter().map(Into::into).collect()))
}
