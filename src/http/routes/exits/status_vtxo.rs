//! `GET /exits/status/vtxo/{vtxo_id}`: the last exit of a VTXO.

use axum::extract::State;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query, parse_vtxo_id};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::http::schema::exit::{ExitStatusQuery, ExitTransactionStatus};

/// Get the exit of a VTXO
///
/// The last exit of the VTXO, whether it is under way or over.
#[utoipa::path(get, path = "/exits/status/vtxo/{vtxo_id}", operation_id = "get_exit_status_by_vtxo_id", tag = "exits",
    params(("vtxo_id" = String, Path, description = "The VTXO's id, `txid:vout`", pattern = "^[0-9a-f]{64}:(0|[1-9][0-9]{0,8})$"), ExitStatusQuery), responses(
    (status = 200, description = "The exit", body = ExitTransactionStatus),
    (status = 400, description = "The id or the query is invalid", body = BadRequestError),
    (status = 404, description = "The VTXO has never been exited", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn get_exit_status_by_vtxo_id(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<ExitStatusQuery>,
) -> Result<Json<ExitTransactionStatus>, ApiError> {
    let wallet = app.wallet()?;
    let exit = wallet.exit_of(parse_vtxo_id(&id)?, query.into()).await?;
    Ok(Json(exit.into()))
}
