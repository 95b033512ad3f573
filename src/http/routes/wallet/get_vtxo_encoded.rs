//! `GET /wallet/vtxos/{id}/encoded`: one VTXO with its exit chain, encoded.

use axum::extract::State;
use bitcoin::hex::DisplayHex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, parse_vtxo_id};
use crate::http::schema::error::{BadRequestError, NeedsWallet, NotFoundError};

#[derive(Serialize, ToSchema)]
pub(super) struct EncodedVtxoResponse {
    /// The VTXO with its exit chain, hex.
    encoded: String,
}

/// Get encoded VTXO
///
/// The VTXO with everything that a unilateral exit needs.
#[utoipa::path(get, path = "/wallet/vtxos/{id}/encoded", operation_id = "get_vtxo_encoded", tag = "wallet",
    params(("id" = String, Path, description = "The VTXO's id, `txid:vout`", pattern = "^[0-9a-f]{64}:(0|[1-9][0-9]{0,8})$")), responses(
    (status = 200, description = "The encoded VTXO", body = EncodedVtxoResponse),
    (status = 400, description = "The id is invalid", body = BadRequestError),
    (status = 404, description = "There is no such VTXO", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn get_vtxo_encoded(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<EncodedVtxoResponse>, ApiError> {
    let wallet = app.wallet()?;
    let encoded = wallet.encoded_vtxo(parse_vtxo_id(&id)?).await?;
    Ok(Json(EncodedVtxoResponse {
        encoded: encoded.to_lower_hex_string(),
    }))
}
