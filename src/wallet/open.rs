//! Making and opening a wallet: database, keys, chain, server, and the operations that were left unfinished.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bip39::Mnemonic;
use bitcoin::Network;
use bitcoin::bip32::Fingerprint;
use bitcoin_ext::BlockHeight;

use crate::ark::{PinnedKeys, Server, ServerConfig};
use crate::chain::{self, BackendConfig, BitcoindAuth, ChainConfig, ChainSource};
use crate::config::{self, WalletConfig};
use crate::onchain::{OnchainWallet, ScanStart};
use crate::store::Store;
use crate::store::wallet::{self as row, WalletRow};
use crate::wallet::account::balance::BalanceCache;
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::engine::Registry;
use crate::wallet::flows::refresh::{AttemptKeyring, RoundEvents};
use crate::wallet::{Error, Result, Settings, Wallet};

/// How long a start waits for the chain's first answer.
const GREETING: Duration = Duration::from_secs(3);

/// What a wallet is made or opened from.
pub struct WalletOptions {
    /// The checked configuration.
    pub config: Arc<WalletConfig>,
    /// The network of a wallet to make; an existing one knows its own.
    pub network: Option<Network>,
    /// The seed.
    pub mnemonic: Mnemonic,
    /// Whether a wallet to make has lived before, so that the chain has to be searched for its coins.
    pub restored: bool,
    /// Where that search begins on bitcoind, if its owner knows; an Esplora search is by address.
    pub birthday: Option<BlockHeight>,
    /// The database file.
    pub database: PathBuf,
    /// Make the wallet also when the server does not answer.
    pub allow_offline_server: bool,
}

impl Wallet {
    /// Makes a new wallet.
    ///
    /// # Errors
    /// The database exists already, `unusable_chain_source` when the chain is another network's or cannot serve us, the chain or
    /// the server cannot be reached, or the server is not safe.
    pub async fn create(options: WalletOptions) -> Result<Arc<Wallet>> {
        let network = options
            .network
            .ok_or_else(|| Error::bad_request("missing_network", "a new wallet needs a network"))?;
        let chain = ChainSource::connect(&chain_config(&options.config, network), network)
            .await
            .map_err(refuse_unusable)?;
        let keys = WalletKeys::new(&options.mnemonic, network);
        let server = connect_server(&options.config, network, None)?;
        match server.check().await {
            Ok(_) => {}
            Err(error) if options.allow_offline_server => {
                tracing::warn!(%error, "the wallet is made without its server");
            }
            Err(error) => return Err(error.into()),
        }
        let store = open_store(options.database.clone()).await?;
        let (fingerprint, pinned) = (keys.fingerprint(), server.pinned());
        store
            .write(move |tx| {
                if row::get(tx)?.is_some() {
                    return Err(Error::conflict(
                        "wallet_exists",
                        "the database holds a wallet already",
                    ));
                }
                row::insert(tx, network, fingerprint)?;
                Ok(pinned.map_or(Ok(()), |keys| {
                    row::pin_server(tx, &keys.server, &keys.mailbox)
                })?)
            })
            .await?;
        let scan = match (options.restored, options.birthday) {
            (false, _) => ScanStart::Tip,
            (true, Some(birthday)) => ScanStart::From(birthday),
            (true, None) => ScanStart::Full,
        };
        assemble(&options.config, network, keys, store, chain, server, scan).await
    }

    /// Opens an existing wallet, and takes up the operations that were left unfinished.
    ///
    /// # Errors
    /// The database belongs to another seed or cannot be read, or the chain is another network's or cannot serve us. Chain and
    /// server may be away.
    pub async fn open(options: WalletOptions) -> Result<Arc<Wallet>> {
        let store = open_store(options.database.clone()).await?;
        let unfinished = || {
            Error::conflict(
                "wallet_incomplete",
                "the wallet was never finished; delete it and create it again",
            )
        };
        let WalletRow {
            network,
            fingerprint,
            server_keys,
        } = store.read(row::get).await?.ok_or_else(unfinished)?;
        let keys = WalletKeys::new(&options.mnemonic, network);
        check_fingerprint(&keys, fingerprint)?;
        let chain = ChainSource::new(&chain_config(&options.config, network), network)?;
        greet(&chain).await?;
        let pinned = server_keys.map(|(server, mailbox)| PinnedKeys { server, mailbox });
        let server = connect_server(&options.config, network, pinned)?;
        assemble(
            &options.config,
            network,
            keys,
            store,
            chain,
            server,
            ScanStart::Full,
        )
        .await
    }

    /// Stops driving operations. What is unfinished goes on when the wallet is opened again. The caller must have stopped
    /// the background loops; the database closes with the last handle.
    pub async fn close(&self) {
        self.operations.stop().await;
    }
}

async fn assemble(
    config: &Arc<WalletConfig>,
    network: Network,
    keys: WalletKeys,
    store: Store,
    chain: ChainSource,
    server: Server,
    scan: ScanStart,
) -> Result<Arc<Wallet>> {
    let onchain = OnchainWallet::load(
        store.clone(),
        chain.clone(),
        keys.onchain_root(),
        network,
        scan,
    )
    .await?;
    let settings = Settings {
        change_pieces: config.change_vtxo_split_factor,
        key_gap: config.vtxo_key_gap_limit,
        sync_interval: config.daemon_sync_interval,
        exit_margin: config.vtxo_exit_margin,
        round_confirmations: config.round_tx_required_confirmations,
        refresh_threshold: config.vtxo_refresh_expiry_threshold(network),
        offboard_confirmations: config.offboard_required_confirmations(network),
        offboard_grace: config.offboard_lost_tx_grace_period,
        manual_sync: config.daemon_manual_sync,
    };
    let wallet = Arc::new(Wallet {
        keys: Arc::new(keys),
        network,
        store,
        server,
        chain,
        onchain,
        settings,
        operations: Registry::new(),
        balance_cache: BalanceCache::default(),
        round_events: RoundEvents::new(),
        attempt_keys: AttemptKeyring::default(),
        mailbox_turn: tokio::sync::Mutex::new(()),
        received: tokio::sync::Notify::new(),
    });
    wallet.resume_operations().await?;
    Ok(wallet)
}

async fn open_store(path: PathBuf) -> Result<Store> {
    Ok(tokio::task::spawn_blocking(move || Store::open(&path))
        .await
        .map_err(Error::internal)??)
}

fn check_fingerprint(keys: &WalletKeys, stored: Fingerprint) -> Result<()> {
    if keys.fingerprint() == stored {
        return Ok(());
    }
    let message = format!(
        "the mnemonic belongs to wallet {}, the database to wallet {stored}",
        keys.fingerprint()
    );
    Err(Error::conflict("wrong_mnemonic", message))
}

/// A chain that will never do is the caller's mistake, and not an outage.
fn refuse_unusable(error: chain::Error) -> Error {
    match error {
        chain::Error::Config(_) | chain::Error::WrongNetwork { .. } => {
            Error::bad_request("unusable_chain_source", error.to_string())
        }
        outage => outage.into(),
    }
}

/// Looks whether the chain is there. What only time can cure is no reason not to start: balances are known without it, and
/// everything else says what it lacks.
async fn greet(chain: &ChainSource) -> Result<()> {
    match tokio::time::timeout(GREETING, chain.tip()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error @ (chain::Error::Config(_) | chain::Error::WrongNetwork { .. }))) => {
            return Err(error.into());
        }
        Ok(Err(error)) => tracing::warn!(%error, "the wallet is opened without its chain"),
        Err(_) => tracing::warn!("the wallet is opened without its chain, which is slow to answer"),
    }
    Ok(())
}

fn chain_config(config: &WalletConfig, network: Network) -> ChainConfig {
    let backend = match &config.chain_source {
        config::ChainSource::Esplora { url } => BackendConfig::Esplora {
            url: url.to_string(),
            socks5_proxy: config.socks5_proxy.as_ref().map(url::Url::to_string),
        },
        config::ChainSource::Bitcoind { url, auth, zmq } => BackendConfig::Bitcoind {
            url: url.clone(),
            auth: match auth {
                config::BitcoindAuth::Cookie(path) => BitcoindAuth::Cookie(path.clone()),
                config::BitcoindAuth::UserPass { user, password } => BitcoindAuth::UserPass {
                    user: user.clone(),
                    password: password.expose().to_owned().into(),
                },
            },
            zmq: zmq.clone(),
        },
    };
    ChainConfig {
        backend,
        fallback_fee_rate: config.fallback_fee_rate(network),
    }
}

fn connect_server(
    config: &WalletConfig,
    network: Network,
    pinned: Option<PinnedKeys>,
) -> Result<Server> {
    let config = ServerConfig {
        address: config.server_address.to_string(),
        network,
        user_agent: config.user_agent.clone(),
        socks5_proxy: config.socks5_proxy.as_ref().map(url::Url::to_string),
        access_token: config
            .server_access_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
        exit_margin: config.vtxo_exit_margin,
    };
    Ok(Server::new(config, pinned))
}
