//! `POST /wallet/import-vtxo`: take in VTXOs of this wallet.

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use bitcoin::hex::FromHex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    BadRequestError, ConflictError, NeedsWallet, ServiceUnavailableError,
};
use crate::http::schema::vtxo::WalletVtxoInfo;
use crate::wallet::{self, ImportRequest, Imported};

/// The header of an answer that names the VTXOs that were not imported.
const REFUSED: HeaderName = HeaderName::from_static("x-refused-vtxos");

/// The most VTXOs that the header names.
const MOST_NAMED: usize = 50;

#[derive(Deserialize, ToSchema)]
pub(super) struct ImportVtxoRequest {
    /// The VTXOs with their exit chains, hex, as `GET /wallet/vtxos/{id}/encoded` answers them.
    vtxos: Vec<String>,
    /// How many unused keys of the wallet are searched for the keys of the VTXOs, at most 100000; by default the setting
    /// `vtxo_key_gap_limit`.
    gap_limit: Option<u32>,
    /// Do not ask the Ark server whether the VTXOs are spent. The chain is asked always.
    #[serde(default)]
    skip_status_check: bool,
    /// Import what can be imported, even if other VTXOs of the request cannot.
    #[serde(default)]
    allow_partial: bool,
}

/// A VTXO of an import.
#[derive(Serialize, ToSchema)]
pub(super) struct ImportedVtxoInfo {
    #[serde(flatten)]
    vtxo: WalletVtxoInfo,
    /// `known` if the wallet had it before, `stored` if it is new.
    outcome: &'static str,
}

/// Import VTXOs
///
/// Takes in VTXOs that belong to this wallet: those that the wallet has already come first, then the new ones. Repeating it changes
/// nothing. Unless `allow_partial` is set, one VTXO that cannot be imported stops the whole import. Otherwise such VTXOs are missing
/// in the answer; its header `x-refused-vtxos` has pairs of an id and an error code, separated by commas, for the first 50 of them.
///
/// Codes: `vtxo_foreign`, `vtxo_invalid`, `vtxo_unanchored` (400); `vtxo_expired`, `vtxo_swept`, `vtxo_spent`, `vtxo_undecided`,
/// `vtxo_unknown_to_server` (409); `vtxo_in_flight` (422).
#[utoipa::path(post, path = "/wallet/import-vtxo", operation_id = "import_vtxo", tag = "wallet", request_body = ImportVtxoRequest, responses(
    (status = 200, description = "The VTXOs that the wallet has now", body = [ImportedVtxoInfo]),
    (status = 400, description = "The request is malformed, or a VTXO is not of this wallet or not valid", body = BadRequestError),
    (status = 409, description = "A VTXO is expired, spent or swept", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    NeedsWallet,
))]
pub(super) async fn import_vtxo(
    State(app): State<App>,
    Json(request): Json<ImportVtxoRequest>,
) -> Result<([(HeaderName, HeaderValue); 1], Json<Vec<ImportedVtxoInfo>>), ApiError> {
    let wallet = app.wallet()?;
    let vtxos = request.vtxos.iter().enumerate();
    let vtxos = vtxos.map(|(number, encoded)| decode(number, encoded));
    let request = ImportRequest {
        vtxos: vtxos.collect::<Result<_, _>>()?,
        gap_limit: request.gap_limit,
        skip_status_check: request.skip_status_check,
        allow_partial: request.allow_partial,
    };
    let imported = detached(async move { wallet.import_vtxos(request).await }).await?;
    let refused = refused(&imported.refused)?;
    Ok(([(REFUSED, refused)], Json(listed(imported))))
}

/// The VTXO in the entry with this number.
pub(in crate::http) fn decode(number: usize, encoded: &str) -> Result<Vtxo<Full>, ApiError> {
    let bytes = Vec::<u8>::from_hex(encoded).ok();
    let vtxo = bytes.and_then(|bytes| Vtxo::deserialize(&bytes).ok());
    vtxo.ok_or_else(|| {
        let message = format!("Entry {number} of `vtxos` is not a hex-encoded VTXO");
        ApiError::bad_request("invalid_vtxo", message)
    })
}

fn listed(imported: Imported) -> Vec<ImportedVtxoInfo> {
    let known = imported.known.iter().map(|record| (record, "known"));
    let stored = imported.stored.iter().map(|record| (record, "stored"));
    let all = known.chain(stored);
    all.map(|(record, outcome)| ImportedVtxoInfo {
        vtxo: (&**record).into(),
        outcome,
    })
    .collect()
}

fn refused(refused: &[(VtxoId, wallet::Error)]) -> Result<HeaderValue, ApiError> {
    let named = refused.iter().take(MOST_NAMED);
    let named: Vec<String> = named
        .map(|(id, error)| format!("{id} {}", error.code()))
        .collect();
    HeaderValue::try_from(named.join(", ")).map_err(|error| ApiError::internal(error.to_string()))
}
