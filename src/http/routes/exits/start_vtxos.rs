//! `POST /exits/start/vtxos`: exit these VTXOs.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached, parse_vtxo_ids};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};
use crate::wallet;

#[derive(Deserialize, ToSchema)]
pub(super) struct ExitStartRequest {
    /// The VTXOs to exit, `txid:vout`.
    vtxos: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExitStartResponse {
    /// What happened, for a human reader.
    message: String,
    /// The VTXOs whose exit has begun, `txid:vout`.
    started: Vec<String>,
    /// The VTXOs that are not exited.
    skipped: Vec<SkippedVtxo>,
}

/// A VTXO that is not exited.
#[derive(Serialize, ToSchema)]
pub(super) struct SkippedVtxo {
    /// The VTXO, `txid:vout`.
    vtxo_id: String,
    /// The reason, for a human reader.
    reason: String,
}

impl From<wallet::ExitsBegun> for ExitStartResponse {
    fn from(begun: wallet::ExitsBegun) -> Self {
        let (started, skipped) = (begun.started.len(), begun.skipped.len());
        Self {
            message: format!("Exits started: {started}; skipped: {skipped}"),
            started: begun
                .started
                .iter()
                .map(|exit| exit.vtxo.to_string())
                .collect(),
            skipped: begun
                .skipped
                .into_iter()
                .map(|exit| SkippedVtxo {
                    vtxo_id: exit.vtxo.to_string(),
                    reason: exit.reason,
                })
                .collect(),
        }
    }
}

/// Exit VTXOs
///
/// Starts the unilateral exit of these VTXOs. Those that are spent, exiting already, or held by another operation than a round or a
/// board are skipped. The exits go on in the background, without the Ark server; the on-chain wallet pays for their transactions.
#[utoipa::path(post, path = "/exits/start/vtxos", operation_id = "exit_start_vtxos", tag = "exits", request_body = ExitStartRequest, responses(
    (status = 200, description = "The exits are under way", body = ExitStartResponse),
    (status = 400, description = "No VTXO is named, an id is invalid, or the network would not relay an exit", body = BadRequestError),
    (status = 404, description = "The wallet has no such VTXO", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn exit_start_vtxos(
    State(app): State<App>,
    Json(request): Json<ExitStartRequest>,
) -> Result<Json<ExitStartResponse>, ApiError> {
    let wallet = app.wallet()?;
    let vtxos = parse_vtxo_ids(&request.vtxos)?;
    let begun = detached(async move { wallet.start_exits(vtxos).await }).await?;
    Ok(Json(begun.into()))
}
