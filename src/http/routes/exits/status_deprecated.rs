//! The former routes of exits: `GET /exits/status` and `GET /exits/status/{vtxo_id}`.

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::status_vtxo;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::schema::error::{Always, BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::exit::{ExitStatusQuery, ExitTransactionStatus};

/// List all exits, under the former path
///
/// Deprecated: use `/exits/status/all`, to which this redirects.
#[utoipa::path(get, path = "/exits/status", operation_id = "get_all_exit_status_deprecated", tag = "exits", params(ExitStatusQuery), responses(
    (status = 308, description = "The list is at `/exits/status/all`"),
    (status = 400, description = "The query is invalid", body = BadRequestError),
    Always,
))]
#[deprecated]
pub(super) async fn get_all_exit_status_deprecated(
    OriginalUri(uri): OriginalUri,
    _: Query<ExitStatusQuery>,
) -> Result<Response, ApiError> {
    let path = uri.path().trim_end_matches('/');
    let location = match uri.query() {
        Some(query) => format!("{path}/all?{query}"),
        None => format!("{path}/all"),
    };
    let location = HeaderValue::from_str(&location)
        .map_err(|_| ApiError::bad_request("invalid_query", "The query is invalid"))?;
    Ok((
        StatusCode::PERMANENT_REDIRECT,
        [(header::LOCATION, location)],
    )
        .into_response())
}

/// Get the exit of a VTXO, under the former path
///
/// Deprecated: use `/exits/status/vtxo/{vtxo_id}`.
#[utoipa::path(get, path = "/exits/status/{vtxo_id}", operation_id = "get_exit_status_by_vtxo_id_deprecated", tag = "exits",
    params(("vtxo_id" = String, Path, description = "The VTXO's id, `txid:vout`", pattern = "^[0-9a-f]{64}:(0|[1-9][0-9]{0,8})$"), ExitStatusQuery), responses(
    (status = 200, description = "The exit", body = ExitTransactionStatus),
    (status = 400, description = "The id or the query is invalid", body = BadRequestError),
    (status = 404, description = "The VTXO has never been exited", body = NotFoundError),
    NeedsWallet,
))]
#[deprecated]
pub(super) async fn get_exit_status_by_vtxo_id_deprecated(
    app: State<App>,
    id: Path<String>,
    query: Query<ExitStatusQuery>,
) -> Result<Json<ExitTransactionStatus>, ApiError> {
    status_vtxo::get_exit_status_by_vtxo_id(app, id, query).await
}
