//! `GET /wallet/mnemonic`: the seed words.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::{NeedsWallet, NotFoundError};

#[derive(Serialize, ToSchema)]
pub(super) struct MnemonicResponse {
    /// The BIP-39 words.
    mnemonic: String,
}

/// Get wallet mnemonic
///
/// Answers only if the daemon was started with `--expose-mnemonic`.
#[utoipa::path(get, path = "/wallet/mnemonic", operation_id = "mnemonic", tag = "wallet", responses(
    (status = 200, description = "The seed words", body = MnemonicResponse),
    (status = 404, description = "The daemon was started without --expose-mnemonic", body = NotFoundError),
    NeedsWallet,
))]
pub(super) async fn mnemonic(State(app): State<App>) -> Result<Json<MnemonicResponse>, ApiError> {
    if !app.expose_mnemonic {
        let message = "The daemon does not expose the mnemonic; start it with --expose-mnemonic to allow this";
        return Err(ApiError::not_found("mnemonic_not_exposed", message));
    }
    let mnemonic = app.wallets.mnemonic()?.ok_or_else(ApiError::no_wallet)?;
    Ok(Json(MnemonicResponse {
        mnemonic: mnemonic.to_string(),
    }))
}
