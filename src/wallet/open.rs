//! Creating and opening a wallet: database, keys, chain backend, Ark server, unfinished operations.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bip39::Mnemonic;
use bitcoin::Network;
use bitcoin::bip32::Fingerprint;
use bitcoin_ext::BlockHeight;
use tokio_util::sync::CancellationToken;

use crate::ark::{Contact, Margins, PinnedKeys, Server, ServerConfig};
use crate::chain::{self, BackendConfig, BitcoindAuth, ChainConfig, ChainSource};
use crate::config::{self, WalletConfig};
use crate::lnurl;
use crate::onchain::{OnchainWallet, ScanStart};
use crate::store::Store;
use crate::store::wallet::{self as row, WalletRow};
use crate::wallet::account::balance::BalanceCache;
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::coins::watch::ChainWatch;
use crate::wallet::engine::Registry;
use crate::wallet::engine::commit_point::commit;
use crate::wallet::flows::lightning::receive::InvoicePoll;
use crate::wallet::flows::refresh::{AttemptKeyring, RoundEvents};
use crate::wallet::requests::RequestsServed;
use crate::wallet::webhooks::Webhooks;
use crate::wallet::{CommitPoint, Error, Result, Settings, Wallet, recovery};
use crate::webhook;

/// How long opening a wallet waits for the first answer of the chain backend.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// What a wallet is created or opened from.
pub struct WalletOptions {
    /// The checked configuration.
    pub config: Arc<WalletConfig>,
    /// The network of a wallet to create; the database of an existing one stores it.
    pub network: Option<Network>,
    /// The seed.
    pub mnemonic: Mnemonic,
    /// Whether the wallet has used its seed before, so that the chain must be searched for its coins if the database has none yet.
    pub restored: bool,
    /// The height at which this search starts on bitcoind; `None` for the whole chain. Esplora is searched by address.
    pub birthday: Option<BlockHeight>,
    /// The database file.
    pub database: PathBuf,
    /// Create the wallet even if the Ark server does not answer.
    pub allow_offline_server: bool,
}

impl WalletOptions {
    fn scan(&self) -> ScanStart {
        match (self.restored, self.birthday) {
            (false, _) => ScanStart::Tip,
            (true, Some(birthday)) => ScanStart::From(birthday),
            (true, None) => ScanStart::Full,
        }
    }
}

impl Wallet {
    /// Creates a new wallet.
    ///
    /// # Errors
    /// `missing_network`; `unusable_chain_source` if the chain backend is on another network or lacks a needed function;
    /// `chain_unavailable`, `server_unavailable`, `server_unsafe`; `wallet_exists` if the database holds a wallet.
    pub async fn create(options: WalletOptions) -> Result<Arc<Wallet>> {
        let network = options
            .network
            .ok_or_else(|| Error::bad_request("missing_network", "a new wallet needs a network"))?;
        let chain = ChainSource::connect(&chain_config(&options.config, network), network)
            .await
            .map_err(refuse_unusable)?;
        let keys = WalletKeys::new(&options.mnemonic, network);
        let server = connect_server(&options.config, network, None)?;
        let contact = match server.check().await {
            Ok(Contact::New(contact)) => Some(contact),
            Ok(Contact::Standing(_)) => None,
            Err(error) if options.allow_offline_server => {
                tracing::warn!(%error, "Ark server not reachable; creating the wallet without it");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let store = open_store(options.database.clone()).await?;
        let fingerprint = keys.fingerprint();
        let pinned = contact.as_ref().map(|contact| contact.keys());
        let restored = options.restored;
        commit(&store, CommitPoint::WalletCreateStored, move |tx| {
            if row::get(tx)?.is_some() {
                return Err(Error::conflict(
                    "wallet_exists",
                    "the database holds a wallet already",
                ));
            }
            row::insert(tx, network, fingerprint)?;
            if restored {
                recovery::begin_from_seed(tx)?;
            }
            if let Some(keys) = pinned {
                row::pin_server(tx, keys.server, keys.mailbox)?;
            }
            Ok(())
        })
        .await?;
        if let (Some(contact), Some(pinned)) = (contact, pinned) {
            server.accept(*contact, pinned)?;
        }
        let scan = options.scan();
        assemble(&options.config, network, keys, store, chain, server, scan).await
    }

    /// Opens an existing wallet and resumes its unfinished operations. The chain backend and the Ark server may be unreachable.
    ///
    /// # Errors
    /// `wallet_incomplete`, `wrong_mnemonic`; `chain_unavailable` if the chain backend is on another network or lacks a needed
    /// function; an internal error if the database cannot be read.
    pub async fn open(options: WalletOptions) -> Result<Arc<Wallet>> {
        let store = open_store(options.database.clone()).await?;
        let unfinished = || Error::conflict("wallet_incomplete", "the database holds no wallet");
        let WalletRow {
            network,
            fingerprint,
            server_keys,
        } = store.read(row::get).await?.ok_or_else(unfinished)?;
        let keys = WalletKeys::new(&options.mnemonic, network);
        check_fingerprint(&keys, fingerprint)?;
        let scan = options.scan();
        let chain = ChainSource::new(&chain_config(&options.config, network), network)?;
        check_chain(&chain).await?;
        let pinned = server_keys.map(|(server, mailbox)| PinnedKeys { server, mailbox });
        let server = connect_server(&options.config, network, pinned)?;
        assemble(&options.config, network, keys, store, chain, server, scan).await
    }

    /// Cancelled when the wallet is being closed: whoever waits for it has to let go of it.
    pub fn closing(&self) -> CancellationToken {
        self.operations.stopped()
    }

    /// Stops the operations; opening the wallet again resumes them. The caller must have stopped the background loops. The
    /// database closes when the last handle is dropped.
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
    let lnurl = lnurl::Client::new(&lnurl_config(config, network)).map_err(Error::internal)?;
    let sender = webhook::Client::new(&sender_config(config)).map_err(Error::internal)?;
    let settings = Settings {
        change_pieces: config.change_vtxo_split_factor,
        key_gap: config.vtxo_key_gap_limit,
        sync_interval: config.daemon_sync_interval,
        exit_margin: config.vtxo_exit_margin,
        claim_delta: config.htlc_recv_claim_delta,
        claim_retries: config.lightning_receive_claim_retries,
        lightning_auto_exit: config.lightning_auto_exit,
        round_confirmations: config.round_tx_required_confirmations,
        refresh_threshold: config.vtxo_refresh_expiry_threshold(network),
        offboard_confirmations: config.offboard_required_confirmations(network),
        offboard_grace: config.offboard_lost_tx_grace_period,
        manual_sync: config.daemon_manual_sync,
        event_retention_days: config.event_retention_days,
        event_retention_rows: config.event_retention_rows,
        ceilings: config.fee_ceilings,
        max_exit_fee_rate: config.max_exit_fee_rate,
        auto_claim: config.exit_auto_claim,
    };
    let wallet = Arc::new(Wallet {
        keys: Arc::new(keys),
        network,
        store,
        server,
        chain,
        onchain,
        lnurl,
        settings,
        operations: Registry::new(),
        requests_served: RequestsServed::default(),
        balance_cache: BalanceCache::default(),
        round_events: RoundEvents::new(),
        attempt_keys: AttemptKeyring::default(),
        mailbox_turn: tokio::sync::Mutex::new(()),
        invoice_poll: InvoicePoll::default(),
        exit_reserve_turn: tokio::sync::Mutex::default(),
        chain_watch: ChainWatch::default(),
        is_newest_copy: AtomicBool::new(false),
        newer_copy_turn: tokio::sync::Mutex::new(()),
        recovery_advanced: tokio::sync::Notify::new(),
        vtxos_arrived: tokio::sync::Notify::new(),
        webhooks: Webhooks::new(sender),
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
        "the mnemonic in the datadir belongs to wallet {}, the database to wallet {stored}; put the files of one wallet there, and keep \
         those of the other",
        keys.fingerprint()
    );
    Err(Error::conflict("wrong_mnemonic", message))
}

/// Turns the errors of a chain backend that can never work into errors of the request; the others are outages.
fn refuse_unusable(error: chain::Error) -> Error {
    match error {
        chain::Error::Config(_) | chain::Error::WrongNetwork { .. } => {
            Error::bad_request("unusable_chain_source", error.to_string())
        }
        outage => outage.into(),
    }
}

/// Checks the chain backend. An outage only logs a warning, because balances are known without the chain, and requests that
/// need it fail with `chain_unavailable`.
///
/// # Errors
/// The chain backend is on another network or lacks a needed function.
async fn check_chain(chain: &ChainSource) -> Result<()> {
    match tokio::time::timeout(FIRST_ANSWER, chain.tip()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error @ (chain::Error::Config(_) | chain::Error::WrongNetwork { .. }))) => {
            return Err(error.into());
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "chain backend not reachable; opening the wallet without it");
        }
        Err(_) => {
            tracing::warn!("chain backend did not answer in time; opening the wallet without it");
        }
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

fn lnurl_config(config: &WalletConfig, network: Network) -> lnurl::ClientConfig {
    lnurl::ClientConfig {
        network,
        user_agent: config.user_agent.clone(),
        socks5_proxy: config.socks5_proxy.as_ref().map(url::Url::to_string),
    }
}

fn sender_config(config: &WalletConfig) -> webhook::ClientConfig {
    webhook::ClientConfig {
        user_agent: config.user_agent.clone(),
        socks5_proxy: config.socks5_proxy.as_ref().map(url::Url::to_string),
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
        margins: Margins {
            exit: config.vtxo_exit_margin,
            refresh: config.vtxo_refresh_expiry_threshold(network),
        },
    };
    Ok(Server::new(config, pinned))
}
