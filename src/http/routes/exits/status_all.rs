//! `GET /exits/status/all`: the exits, newest first.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::schema::error::{BadRequestError, NeedsWallet};
use crate::http::schema::exit::{ExitStatusQuery, ExitTransactionStatus};
use crate::wallet::ExitFilter;

/// List all exits
///
/// The exits, newest first.
#[utoipa::path(get, path = "/exits/status/all", operation_id = "get_all_exit_status", tag = "exits", params(ExitStatusQuery), responses(
    (status = 200, description = "The exits", body = [ExitTransactionStatus]),
    (status = 400, description = "The query is invalid", body = BadRequestError),
    NeedsWallet,
))]
pub(super) async fn get_all_exit_status(
    State(app): State<App>,
    Query(query): Query<ExitStatusQuery>,
) -> Result<Json<Vec<ExitTransactionStatus>>, ApiError> {
    let exits = app.wallet()?.exits(ExitFilter::All, query.into()).await?;
    Ok(Json(exits.into_iter().map(Into::into).collect()))
}
