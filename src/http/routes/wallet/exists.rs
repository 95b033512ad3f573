//! `GET /wallet`: the fingerprint of the loaded wallet, and what waits for a decision of its operator.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::error::Always;
use crate::wallet;

#[derive(Serialize, ToSchema)]
pub(super) struct WalletExistsResponse {
    /// The wallet's fingerprint, 8 hex characters; null when there is no wallet.
    fingerprint: Option<String>,
    /// What the wallet does nothing about before its operator decides; oldest first. Without a wallet: what the datadir holds of one.
    attention: Vec<Attention>,
}

/// A fact that waits for a decision of the operator.
#[derive(Serialize, ToSchema)]
struct Attention {
    /// What kind of fact, a stable word for programs.
    code: String,
    /// The id of the operation, VTXO or round that it is about; empty for the wallet as a whole, the fingerprint of one that is not
    /// loaded.
    subject: String,
    /// What happened.
    message: String,
    /// What the operator can do.
    what_to_do: String,
}

impl From<wallet::Attention> for Attention {
    fn from(fact: wallet::Attention) -> Self {
        Self {
            code: fact.code,
            subject: fact.subject,
            message: fact.message,
            what_to_do: fact.what_to_do,
        }
    }
}

/// Get wallet fingerprint
#[utoipa::path(get, path = "/wallet", operation_id = "wallet_exists", tag = "wallet", responses(
    (status = 200, description = "The wallet, if there is one", body = WalletExistsResponse),
    Always,
))]
pub(super) async fn wallet_exists(
    State(app): State<App>,
) -> Result<Json<WalletExistsResponse>, ApiError> {
    let Some(wallet) = app.wallets.loaded() else {
        let parts = app.wallets.unloaded_parts().await;
        return Ok(Json(WalletExistsResponse {
            fingerprint: None,
            attention: parts.into_iter().map(Attention::from).collect(),
        }));
    };
    let facts = wallet.attention().await?;
    Ok(Json(WalletExistsResponse {
        fingerprint: Some(wallet.fingerprint().to_string()),
        attention: facts.into_iter().map(Attention::from).collect(),
    }))
}
