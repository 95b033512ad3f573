//! `GET /onchain/utxos`: the unspent outputs of the last sync.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::NeedsWallet;

/// An unspent output.
#[derive(Serialize, ToSchema)]
pub(super) struct UtxoInfo {
    /// Its outpoint, `txid:vout`.
    outpoint: String,
    /// Its value, in satoshis.
    amount_sat: u64,
    /// The height of its block; null while unconfirmed.
    confirmation_height: Option<u32>,
}

/// List on-chain UTXOs
#[utoipa::path(get, path = "/onchain/utxos", operation_id = "onchain_utxos", tag = "onchain", responses(
    (status = 200, description = "The coins", body = [UtxoInfo]),
    NeedsWallet,
))]
pub(super) async fn onchain_utxos(State(app): State<App>) -> Result<Json<Vec<UtxoInfo>>, ApiError> {
    let utxos = app.wallet()?.onchain_utxos();
    let shown = utxos.into_iter().map(|utxo| UtxoInfo {
        outpoint: utxo.outpoint.to_string(),
        amount_sat: utxo.amount.to_sat(),
        confirmation_height: utxo.confirmation_height.map(Into::into),
    });
    Ok(Json(shown.collect()))
}
