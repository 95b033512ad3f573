//! `POST /exits/cancel/{vtxo_id}`: end an exit before the VTXO is on chain.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, detached, parse_vtxo_id};
use crate::http::schema::error::{
    BadRequestError, NeedsWallet, NotFoundError, ServiceUnavailableError,
};

#[derive(Serialize, ToSchema)]
pub(super) struct ExitCancelResponse {
    /// What happened, for a human reader.
    message: String,
}

/// Cancel an exit
///
/// Possible until the VTXO's own transaction is broadcast. The VTXO can then be spent or exited again. Transactions above it that are on
/// chain stay there. Canceling again changes nothing.
#[utoipa::path(post, path = "/exits/cancel/{vtxo_id}", operation_id = "exit_cancel", tag = "exits",
    params(("vtxo_id" = String, Path, description = "The VTXO's id, `txid:vout`", pattern = "^[0-9a-f]{64}:(0|[1-9][0-9]{0,8})$")), responses(
    (status = 200, description = "The exit is canceled", body = ExitCancelResponse),
    (status = 400, description = "The id is invalid, or it is too late", body = BadRequestError),
    (status = 404, description = "The VTXO has no exit", body = NotFoundError),
    (status = 503, description = "The chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn exit_cancel(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<ExitCancelResponse>, ApiError> {
    let wallet = app.wallet()?;
    let vtxo = parse_vtxo_id(&id)?;
    detached(async move { wallet.cancel_exit(vtxo).await }).await?;
    Ok(Json(ExitCancelResponse {
        message: "Exit canceled".to_owned(),
    }))
}
