//! `POST /wallet/create`: create or restore the wallet.

use axum::extract::State;
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::config::{ConfigFile, NetworkName};
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::{Json, detached};
use crate::http::schema::error::{
    Always, BadRequestError, ConflictError, ServiceUnavailableError, UnprocessableEntityError,
};
use crate::wallet::lifecycle::CreateWallet;

#[derive(Deserialize, ToSchema)]
pub(super) struct CreateWalletRequest {
    /// The network.
    network: NetworkName,
    /// The Ark server's URL. Optional where the network has a default or config.toml sets one.
    ark_server: Option<String>,
    /// Access token for a private Ark server.
    #[schema(deprecated)]
    ark_server_access_token: Option<String>,
    /// The source of blocks and transactions. Optional where the network has a default or config.toml sets one.
    chain_source: Option<ChainSourceConfig>,
    /// The BIP-39 words of a wallet to restore; without them a new wallet is created. The search for its VTXOs goes on after the answer
    /// if it takes longer than 20 seconds, or the Ark server is away: see `recovery` in `GET /wallet`.
    mnemonic: Option<String>,
    /// First block height at which a restored wallet may own on-chain funds; with bitcoind the scan starts there. Without it, or with
    /// Esplora, the whole chain is scanned.
    birthday_height: Option<u32>,
    /// How far beyond the last known key a payment to this wallet may go, at most 100000 keys; sets `vtxo_key_gap_limit`.
    gap_limit: Option<u32>,
    /// Ignores unknown files in the datadir and an unreachable server.
    #[serde(default)]
    force: bool,
}

/// The source of blocks and transactions.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ChainSourceConfig {
    /// An Esplora API.
    Esplora {
        /// Its URL.
        url: String,
    },
    /// A bitcoind.
    Bitcoind {
        /// Its RPC URL.
        bitcoind: String,
        /// How to log in.
        bitcoind_auth: BitcoindAuth,
    },
}

/// How to log in to bitcoind.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum BitcoindAuth {
    /// With the cookie file that bitcoind writes.
    Cookie {
        /// Path of the file.
        cookie: String,
    },
    /// With user name and password.
    UserPass {
        /// The user.
        user: String,
        /// The password.
        pass: String,
    },
}

#[derive(Serialize, ToSchema)]
pub(super) struct CreateWalletResponse {
    /// The wallet's fingerprint, 8 hex characters.
    fingerprint: String,
}

/// Create a wallet
///
/// Creates a new wallet, or restores one from its mnemonic, and loads it. If the daemon dies meanwhile, its next start or the same request
/// completes the wallet.
#[utoipa::path(post, path = "/wallet/create", operation_id = "create_wallet", tag = "wallet", request_body = CreateWalletRequest, responses(
    (status = 200, description = "The wallet was created", body = CreateWalletResponse),
    (status = 400, description = "There is a wallet already, or the request is invalid", body = BadRequestError),
    (status = 409, description = "The datadir is in use, or the creation or deletion of another wallet was interrupted", body = ConflictError),
    (status = 422, description = "The body has the wrong shape", body = UnprocessableEntityError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    Always,
))]
pub(super) async fn create_wallet(
    State(app): State<App>,
    Json(request): Json<CreateWalletRequest>,
) -> Result<Json<CreateWalletResponse>, ApiError> {
    let fingerprint = detached(async move { app.wallets.create(request.into()).await }).await?;
    Ok(Json(CreateWalletResponse {
        fingerprint: fingerprint.to_string(),
    }))
}

/// Create a wallet, under the former path
///
/// Deprecated: use `/wallet/create`.
#[utoipa::path(post, path = "/wallet", operation_id = "create_wallet_deprecated", tag = "wallet", request_body = CreateWalletRequest, responses(
    (status = 200, description = "The wallet was created", body = CreateWalletResponse),
    (status = 400, description = "There is a wallet already, or the request is invalid", body = BadRequestError),
    (status = 409, description = "The datadir is in use, or the creation or deletion of another wallet was interrupted", body = ConflictError),
    (status = 503, description = "The Ark server or the chain is unreachable", body = ServiceUnavailableError),
    Always,
))]
#[deprecated]
pub(super) async fn create_wallet_deprecated(
    app: State<App>,
    request: Json<CreateWalletRequest>,
) -> Result<Json<CreateWalletResponse>, ApiError> {
    create_wallet(app, request).await
}

impl From<CreateWalletRequest> for CreateWallet {
    fn from(request: CreateWalletRequest) -> Self {
        let mut config = ConfigFile {
            server_address: request.ark_server,
            server_access_token: request.ark_server_access_token,
            vtxo_key_gap_limit: request.gap_limit,
            ..ConfigFile::default()
        };
        if let Some(source) = request.chain_source {
            source.write(&mut config);
        }
        Self {
            network: request.network,
            config,
            mnemonic: request.mnemonic.map(Zeroizing::new),
            birthday: request.birthday_height.map(BlockHeight::new),
            force: request.force,
        }
    }
}

impl ChainSourceConfig {
    fn write(self, config: &mut ConfigFile) {
        match self {
            Self::Esplora { url } => config.esplora_address = Some(url),
            Self::Bitcoind {
                bitcoind,
                bitcoind_auth,
            } => {
                config.bitcoind_address = Some(bitcoind);
                match bitcoind_auth {
                    BitcoindAuth::Cookie { cookie } => config.bitcoind_cookiefile = Some(cookie),
                    BitcoindAuth::UserPass { user, pass } => {
                        config.bitcoind_user = Some(user);
                        config.bitcoind_pass = Some(pass);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_chain_sources_are_understood() {
        let read = |source| {
            let body = json!({"network": "regtest", "ark_server": null, "chain_source": source});
            let request: CreateWalletRequest = serde_json::from_value(body).unwrap();
            CreateWallet::from(request).config
        };
        assert_eq!(read(json!(null)), ConfigFile::default());
        assert_eq!(
            read(json!({"esplora": {"url": "u"}}))
                .esplora_address
                .as_deref(),
            Some("u")
        );
        let auth = json!({"user-pass": {"user": "u", "pass": "p"}});
        let config = read(json!({"bitcoind": {"bitcoind": "b", "bitcoind_auth": auth}}));
        assert_eq!(config.bitcoind_address.as_deref(), Some("b"));
        assert_eq!(config.bitcoind_pass.as_deref(), Some("p"));
        let config = read(
            json!({"bitcoind": {"bitcoind": "b", "bitcoind_auth": {"cookie": {"cookie": "/c"}}}}),
        );
        assert_eq!(config.bitcoind_cookiefile.as_deref(), Some("/c"));
    }
}
