//! The wallet's configuration: `<datadir>/config.toml` with the overrides of the environment, checked and typed.
//!
//! Precedence, high to low: the variable `BARK_<KEY>`, the file, the default (docs/protocol.md §21.4). The bind address,
//! CORS and authentication are not part of it; they are flags of the process ([`crate::cli`]).

mod ceiling;
mod file;
mod network;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitcoin::{Amount, FeeRate, Network};
use bitcoin_ext::BlockDelta;
use url::Url;
use zeroize::Zeroizing;

pub use ceiling::{FeeCeiling, FeeCeilings};
pub use file::{ConfigFile, Overrides};
pub use network::NetworkName;

/// The maximum `vtxo_key_gap_limit`: each key of the gap may cost a derivation and a lookup.
pub const MAX_KEY_GAP_LIMIT: u32 = 100_000;

/// The default of `user_agent`.
pub const DEFAULT_USER_AGENT: &str = concat!("arkwalletd/", env!("CARGO_PKG_VERSION"));

/// The operator's settings for the wallet.
#[derive(Clone)]
pub struct WalletConfig {
    /// Ark server. Key `server_address`, variable `BARK_SERVER_ADDRESS`, default `http://127.0.0.1:3535`; https when
    /// the scheme is missing.
    pub server_address: Url,
    /// Access token for a private Ark server, sent with each call. Key `server_access_token`, variable
    /// `BARK_SERVER_ACCESS_TOKEN`, default none.
    pub server_access_token: Option<Secret>,
    /// The user agent sent to the Ark server, `name/version` or `name`. Key `user_agent`, variable
    /// `BARK_USER_AGENT`, default [`DEFAULT_USER_AGENT`].
    pub user_agent: String,
    /// The source of blocks and transactions. Keys `esplora_address` or `bitcoind_address` with its companions, variables
    /// of the same names; Esplora takes precedence when both are set; no default.
    pub chain_source: ChainSource,
    /// Safety margin between the end of a unilateral exit and the VTXO's expiry, in blocks. Key `vtxo_exit_margin`,
    /// variable `BARK_VTXO_EXIT_MARGIN`, default 12.
    pub vtxo_exit_margin: BlockDelta,
    /// Blocks that the claim of a Lightning payment on chain may take. Key `htlc_recv_claim_delta`, variable
    /// `BARK_HTLC_RECV_CLAIM_DELTA`, default 18.
    pub htlc_recv_claim_delta: BlockDelta,
    /// Failed claims of a Lightning payment after which the operator is told; the wallet goes on claiming. Key
    /// `lightning_receive_claim_retries`, variable `BARK_LIGHTNING_RECEIVE_CLAIM_RETRIES`, default 5.
    pub lightning_receive_claim_retries: u8,
    /// Exits the HTLCs of a Lightning payment by itself when they cannot be saved otherwise, shortly before they are lost. Key
    /// `lightning_auto_exit`, variable `BARK_LIGHTNING_AUTO_EXIT`, default true.
    pub lightning_auto_exit: bool,
    /// SOCKS5 proxy for the Ark server, the chain source and LNURL servers, `socks5h://host:port`; not used for loopback addresses. Key
    /// `socks5_proxy`, variable `BARK_SOCKS5_PROXY`, default none.
    pub socks5_proxy: Option<Url>,
    /// Confirmations after which a round's funding transaction counts. Key `round_tx_required_confirmations`, variable
    /// `BARK_ROUND_TX_REQUIRED_CONFIRMATIONS`, default 1.
    pub round_tx_required_confirmations: u16,
    /// How long an offboard transaction may be missing from mempool and chain before it counts as lost. Key
    /// `offboard_lost_tx_grace_period_secs`, variable `BARK_OFFBOARD_LOST_TX_GRACE_PERIOD_SECS`, in seconds, default 3600.
    pub offboard_lost_tx_grace_period: Duration,
    /// Pause between two runs of the background sync. Key `daemon_sync_interval_secs`, variable
    /// `BARK_DAEMON_SYNC_INTERVAL_SECS`, in seconds, default 60.
    pub daemon_sync_interval: Duration,
    /// Number of VTXOs into which large change is split, 1 to 3. Key `change_vtxo_split_factor`, variable
    /// `BARK_CHANGE_VTXO_SPLIT_FACTOR`, default 2.
    pub change_vtxo_split_factor: u8,
    /// Syncs only on API requests; the background only maintains the server connection. Key `daemon_manual_sync`, variable
    /// `BARK_DAEMON_MANUAL_SYNC`, default false.
    pub daemon_manual_sync: bool,
    /// Days for which events are kept, so that a client can resume after them. Key `event_retention_days`, variable
    /// `BARK_EVENT_RETENTION_DAYS`, default 30.
    pub event_retention_days: u32,
    /// The most events that are kept. Key `event_retention_rows`, variable `BARK_EVENT_RETENTION_ROWS`, default 1,000,000.
    pub event_retention_rows: u64,
    /// How far beyond the last known key a key of this wallet may be. Key `vtxo_key_gap_limit`, variable
    /// `BARK_VTXO_KEY_GAP_LIMIT`, default 250, at most [`MAX_KEY_GAP_LIMIT`].
    pub vtxo_key_gap_limit: u32,
    /// The highest fees of the Ark server that the wallet pays. Keys `max_…_fee_…`, variables `BARK_MAX_…`.
    pub fee_ceilings: FeeCeilings,
    /// The highest fee rate that the wallet pays for the transactions of exits by itself. Key `max_exit_fee_rate_sat_per_vb`, variable
    /// `BARK_MAX_EXIT_FEE_RATE_SAT_PER_VB`, in sat/vB, default 250.
    pub max_exit_fee_rate: FeeRate,
    /// Whether exits are claimed to the on-chain wallet as soon as they can be, and the highest fee of such a claim. Keys
    /// `exit_auto_claim`, default false, `exit_auto_claim_max_fee_sat`, default 5,000 sat, and `exit_auto_claim_max_fee_ppm`, default
    /// 20,000; variables `BARK_EXIT_AUTO_CLAIM…`.
    pub exit_auto_claim: Option<FeeCeiling>,
    vtxo_refresh_expiry_threshold: Option<BlockDelta>,
    fallback_fee_rate: Option<FeeRate>,
    offboard_required_confirmations: Option<u16>,
}

/// The source of blocks and transactions.
#[derive(Clone)]
pub enum ChainSource {
    /// An Esplora HTTP API.
    Esplora {
        /// Base URL, with the `/api` part where the server has one. Key `esplora_address`.
        url: Url,
    },
    /// A bitcoind with `txindex=1`.
    Bitcoind {
        /// RPC URL. Key `bitcoind_address`; http when the scheme is missing.
        url: Url,
        /// The credentials.
        auth: BitcoindAuth,
        /// ZMQ block notifications, `tcp://host:port`; without it the tip is polled. Key `bitcoind_zmq_address`.
        zmq: Option<String>,
    },
}

/// The credentials for bitcoind.
#[derive(Clone)]
pub enum BitcoindAuth {
    /// The cookie file that bitcoind writes. Key `bitcoind_cookiefile`; takes precedence over user and password.
    Cookie(PathBuf),
    /// Keys `bitcoind_user` and `bitcoind_pass`.
    UserPass {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
}

/// A text that must not be logged: it has no `Display`, its `Debug` hides the text, and its memory is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Shows nothing, because URLs may contain passwords.
impl std::fmt::Debug for WalletConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WalletConfig(…)")
    }
}

/// The mistakes in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", mistakes.join(" "))]
pub struct ConfigError {
    /// One sentence for each mistake, which names the key or the variable.
    pub mistakes: Vec<String>,
}

impl ConfigError {
    fn one(mistake: String) -> Self {
        Self {
            mistakes: vec![mistake],
        }
    }
}

impl WalletConfig {
    /// The effective configuration: the file at `path`, if it exists, with `overrides`.
    ///
    /// # Errors
    /// As for [`WalletConfig::check`], and when the file or a variable cannot be read.
    pub fn load(path: &Path, overrides: Overrides) -> Result<Self, ConfigError> {
        Self::check(&overrides.apply(&ConfigFile::read(path)?)?)
    }

    /// Fills in the defaults and checks each key.
    ///
    /// # Errors
    /// Values are invalid, or the chain source is missing; the error lists every mistake.
    pub fn check(file: &ConfigFile) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let server_address = server_address(file, &mut mistakes);
        let chain_source = chain_source(file, &mut mistakes);
        let user_agent = user_agent(file, &mut mistakes);
        let socks5_proxy = socks5_proxy(file, &mut mistakes);
        let change_vtxo_split_factor = file.change_vtxo_split_factor.unwrap_or(2);
        if !(1..=3).contains(&change_vtxo_split_factor) {
            mistakes.push("change_vtxo_split_factor must be 1, 2 or 3.".to_owned());
        }
        let vtxo_key_gap_limit = file.vtxo_key_gap_limit.unwrap_or(250);
        if vtxo_key_gap_limit > MAX_KEY_GAP_LIMIT {
            mistakes.push(format!(
                "vtxo_key_gap_limit must be at most {MAX_KEY_GAP_LIMIT}."
            ));
        }
        let daemon_sync_interval = file.daemon_sync_interval_secs.unwrap_or(60);
        if daemon_sync_interval == 0 {
            mistakes.push("daemon_sync_interval_secs must be at least 1.".to_owned());
        }
        if file.max_exit_fee_rate_sat_per_vb == Some(0) {
            mistakes.push("max_exit_fee_rate_sat_per_vb must be at least 1.".to_owned());
        }
        if file.fallback_fee_rate == Some(0) {
            mistakes.push("fallback_fee_rate must be at least 1 sat/kWU.".to_owned());
        }
        let (Some(server_address), Some(chain_source), true) =
            (server_address, chain_source, mistakes.is_empty())
        else {
            return Err(ConfigError { mistakes });
        };
        Ok(Self {
            server_address,
            server_access_token: file.server_access_token.clone().map(Secret::new),
            user_agent,
            chain_source,
            vtxo_exit_margin: BlockDelta::new(file.vtxo_exit_margin.unwrap_or(12)),
            htlc_recv_claim_delta: BlockDelta::new(file.htlc_recv_claim_delta.unwrap_or(18)),
            lightning_receive_claim_retries: file.lightning_receive_claim_retries.unwrap_or(5),
            lightning_auto_exit: file.lightning_auto_exit.unwrap_or(true),
            socks5_proxy,
            round_tx_required_confirmations: file.round_tx_required_confirmations.unwrap_or(1),
            offboard_lost_tx_grace_period: Duration::from_secs(
                file.offboard_lost_tx_grace_period_secs.unwrap_or(3600),
            ),
            daemon_sync_interval: Duration::from_secs(daemon_sync_interval),
            change_vtxo_split_factor,
            daemon_manual_sync: file.daemon_manual_sync.unwrap_or(false),
            event_retention_days: file.event_retention_days.unwrap_or(30),
            event_retention_rows: file.event_retention_rows.unwrap_or(1_000_000),
            vtxo_key_gap_limit,
            fee_ceilings: FeeCeilings::of(file),
            max_exit_fee_rate: FeeRate::from_sat_per_vb_u32(
                file.max_exit_fee_rate_sat_per_vb.unwrap_or(250),
            ),
            exit_auto_claim: file.exit_auto_claim.unwrap_or(false).then(|| FeeCeiling {
                most: Amount::from_sat(file.exit_auto_claim_max_fee_sat.unwrap_or(5_000)),
                ppm: file.exit_auto_claim_max_fee_ppm.unwrap_or(20_000),
            }),
            vtxo_refresh_expiry_threshold: file.vtxo_refresh_expiry_threshold.map(BlockDelta::new),
            fallback_fee_rate: file.fallback_fee_rate.map(FeeRate::from_sat_per_kwu),
            offboard_required_confirmations: file.offboard_required_confirmations,
        })
    }

    /// Number of blocks before expiry from which a VTXO is due for refresh. Key `vtxo_refresh_expiry_threshold`, variable
    /// `BARK_VTXO_REFRESH_EXPIRY_THRESHOLD`, default 144 on mainnet and 12 elsewhere.
    pub fn vtxo_refresh_expiry_threshold(&self, network: Network) -> BlockDelta {
        self.vtxo_refresh_expiry_threshold
            .unwrap_or(BlockDelta::new(by_network(network, 144, 12)))
    }

    /// Fee rate used while the chain source has no estimate. Key `fallback_fee_rate`, variable `BARK_FALLBACK_FEE_RATE`, in
    /// sat/kWU, default 500 (2 sat/vB) on mainnet and 250 elsewhere.
    pub fn fallback_fee_rate(&self, network: Network) -> FeeRate {
        self.fallback_fee_rate
            .unwrap_or(FeeRate::from_sat_per_kwu(by_network(network, 500, 250)))
    }

    /// Confirmations after which an offboard is done; 0 means at once. Key `offboard_required_confirmations`, variable
    /// `BARK_OFFBOARD_REQUIRED_CONFIRMATIONS`, default 2 on mainnet and 0 elsewhere.
    pub fn offboard_required_confirmations(&self, network: Network) -> u16 {
        self.offboard_required_confirmations
            .unwrap_or(by_network(network, 2, 0))
    }
}

fn by_network<T>(network: Network, mainnet: T, other: T) -> T {
    if network == Network::Bitcoin {
        mainnet
    } else {
        other
    }
}

fn server_address(file: &ConfigFile, mistakes: &mut Vec<String>) -> Option<Url> {
    let text = file
        .server_address
        .as_deref()
        .unwrap_or("http://127.0.0.1:3535");
    web_url("server_address", text, "https", mistakes)
}

fn chain_source(file: &ConfigFile, mistakes: &mut Vec<String>) -> Option<ChainSource> {
    if let Some(esplora) = &file.esplora_address {
        return Some(ChainSource::Esplora {
            url: web_url("esplora_address", esplora, "https", mistakes)?,
        });
    }
    let Some(address) = &file.bitcoind_address else {
        mistakes.push(
            "The chain source is missing: set esplora_address or bitcoind_address.".to_owned(),
        );
        return None;
    };
    let zmq = file.bitcoind_zmq_address.clone();
    if zmq.as_ref().is_some_and(|zmq| !zmq.starts_with("tcp://")) {
        mistakes.push("bitcoind_zmq_address must start with tcp://.".to_owned());
    }
    let auth = match (
        &file.bitcoind_cookiefile,
        &file.bitcoind_user,
        &file.bitcoind_pass,
    ) {
        (Some(cookie), _, _) => BitcoindAuth::Cookie(cookie.into()),
        (None, Some(user), Some(password)) => BitcoindAuth::UserPass {
            user: user.clone(),
            password: Secret::new(password),
        },
        _ => {
            mistakes.push(
                "The credentials for bitcoind are missing: set bitcoind_cookiefile, or bitcoind_user and bitcoind_pass.".to_owned(),
            );
            return None;
        }
    };
    let url = web_url("bitcoind_address", address, "http", mistakes)?;
    Some(ChainSource::Bitcoind { url, auth, zmq })
}

fn user_agent(file: &ConfigFile, mistakes: &mut Vec<String>) -> String {
    let Some(text) = &file.user_agent else {
        return DEFAULT_USER_AGENT.to_owned();
    };
    let (name, version) = text.split_once('/').unwrap_or((text, ""));
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(legal) {
        mistakes.push(
            "user_agent must begin with a name of 1 to 32 characters from a-z, 0-9, _ and -."
                .to_owned(),
        );
    }
    if !version.chars().all(|c| c.is_ascii_graphic()) {
        mistakes
            .push("The version in user_agent must be printable ASCII without spaces.".to_owned());
    }
    let version: String = version.chars().take(32).collect();
    if version.is_empty() {
        name.to_owned()
    } else {
        format!("{name}/{version}")
    }
}

fn socks5_proxy(file: &ConfigFile, mistakes: &mut Vec<String>) -> Option<Url> {
    let text = file.socks5_proxy.as_ref()?;
    match Url::parse(text) {
        Ok(url)
            if url.scheme() == "socks5h" && url.host_str().is_some_and(|host| !host.is_empty()) =>
        {
            Some(url)
        }
        _ => {
            mistakes.push("socks5_proxy must have the form socks5h://host:port.".to_owned());
            None
        }
    }
}

/// Parses an http or https URL; `scheme` is the default for an address without one.
fn web_url(key: &str, text: &str, scheme: &str, mistakes: &mut Vec<String>) -> Option<Url> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("{scheme}://{text}")
    };
    match Url::parse(&full) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Some(url),
        _ => {
            mistakes.push(format!("{key} must be an http or https URL."));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<WalletConfig, ConfigError> {
        WalletConfig::check(&text.parse()?)
    }

    #[test]
    fn defaults_follow_the_network() {
        let config = parsed("esplora_address = \"localhost:3002\"").unwrap();
        assert_eq!(config.server_address.as_str(), "http://127.0.0.1:3535/");
        assert!(
            matches!(&config.chain_source, ChainSource::Esplora { url } if url.as_str() == "https://localhost:3002/")
        );
        assert_eq!(
            config.vtxo_refresh_expiry_threshold(Network::Bitcoin),
            BlockDelta::new(144)
        );
        assert_eq!(
            config.vtxo_refresh_expiry_threshold(Network::Regtest),
            BlockDelta::new(12)
        );
        assert_eq!(config.offboard_required_confirmations(Network::Bitcoin), 2);
        assert_eq!(config.offboard_required_confirmations(Network::Signet), 0);
        assert_eq!(
            config.fallback_fee_rate(Network::Signet),
            FeeRate::from_sat_per_kwu(250)
        );
    }

    #[test]
    fn esplora_and_the_cookie_take_precedence() {
        let both = "esplora_address = \"e\"\nbitcoind_address = \"b\"";
        assert!(matches!(
            parsed(both).unwrap().chain_source,
            ChainSource::Esplora { .. }
        ));
        let logins = "bitcoind_address = \"b:1\"\nbitcoind_cookiefile = \"/c\"\nbitcoind_user = \"u\"\nbitcoind_pass = \"p\"";
        let ChainSource::Bitcoind { url, auth, .. } = parsed(logins).unwrap().chain_source else {
            panic!()
        };
        assert_eq!(url.as_str(), "http://b:1/");
        assert!(matches!(auth, BitcoindAuth::Cookie(_)));
    }

    #[test]
    fn the_error_lists_every_mistake() {
        let text = "change_vtxo_split_factor = 4\nvtxo_key_gap_limit = 100001\nsocks5_proxy = \"socks5://h:1\"\n\
                    user_agent = \"Shop\"\nserver_address = \"ftp://x\"\ndaemon_sync_interval_secs = 0";
        let mistakes = parsed(text).unwrap_err().mistakes;
        assert_eq!(mistakes.len(), 7, "{mistakes:?}");
        for key in [
            "change_vtxo_split_factor",
            "vtxo_key_gap_limit",
            "socks5_proxy",
            "user_agent",
            "server_address",
        ] {
            assert!(mistakes.iter().any(|m| m.contains(key)), "{key}");
        }
    }

    #[test]
    fn bitcoind_needs_credentials() {
        assert!(parsed("bitcoind_address = \"b\"\nbitcoind_user = \"u\"").is_err());
    }

    #[test]
    fn a_long_user_agent_is_truncated() {
        let long = format!(
            "esplora_address = \"e\"\nuser_agent = \"shop/{}\"",
            "9".repeat(40)
        );
        assert_eq!(
            parsed(&long).unwrap().user_agent,
            format!("shop/{}", "9".repeat(32))
        );
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let config =
            parsed("bitcoind_address = \"u:hunter2@b\"\nbitcoind_user = \"u\"\nbitcoind_pass = \"hunter2\"")
                .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let file: ConfigFile = "socks5_proxy = \"socks5h://u:hunter2@p:1\""
            .parse()
            .unwrap();
        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
