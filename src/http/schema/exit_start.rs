//! The answer to a start of exits.

use serde::Serialize;
use utoipa::ToSchema;

use crate::wallet::ExitsBegun;

/// Exits that have begun.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExitStartResponse {
    /// What happened, for a human reader.
    message: String,
    /// The VTXOs whose exit has begun, `txid:vout`.
    started: Vec<String>,
    /// The VTXOs that are not exited.
    skipped: Vec<SkippedVtxo>,
}

/// A VTXO that is not exited.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SkippedVtxo {
    /// The VTXO, `txid:vout`.
    vtxo_id: String,
    /// The reason, for a human reader.
    reason: String,
}

impl From<ExitsBegun> for ExitStartResponse {
    fn from(begun: ExitsBegun) -> Self {
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
