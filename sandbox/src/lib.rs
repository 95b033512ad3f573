//! Regtest in a box: a chain, an Esplora API and an Ark server that tests and newcomers run in one process.
//!
//! A sandbox has no global state: any number of them run side by side, each on its own ports, in RAM or in a directory.

pub mod ark;
pub mod chain;
pub mod chain_proxy;
pub mod clock;
pub mod coin_wallet;
pub mod control;
pub mod faults;
pub mod lightning;
pub mod testing;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use bitcoin::{Amount, FeeRate};
use hex_conservative::{DisplayHex, FromHex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::ark::{ArkServer, ArkServerOptions, Params};
use self::chain::{AutoMine, BitcoindConfig, Chain, ChainConfig, FeeRates, esplora};
use self::chain_proxy::ChainProxy;
use self::coin_wallet::{CoinKey, CoinWallet};
use self::lightning::lnurl;

/// Number of blocks that a new chain starts with, so that the faucet has mature coinbase outputs.
const FIRST_BLOCKS: u32 = 120;
/// Number of coins that the Ark server starts with.
const SERVER_COINS: usize = 10;
/// Amount of each of these coins.
const SERVER_COIN: Amount = Amount::from_int_btc(10);
/// Time that open connections get to finish after [`SandboxHandle::stop`].
const LINGER: Duration = Duration::from_secs(2);

/// The options of a sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Directory of all persistent data; `None` keeps everything in RAM.
    pub data_dir: Option<PathBuf>,
    /// A regtest node that replaces the simulated chain.
    pub bitcoind: Option<BitcoindConfig>,
    /// Seed of all keys. If `None`, the seed stored in the directory, else a random one.
    pub seed: Option<[u8; 32]>,
    /// The loopback port of the HTTP APIs; 0 picks a free one.
    pub http_port: u16,
    /// The loopback port of the chain proxy, which applies the chain faults; 0 picks a free one.
    pub chain_proxy_port: u16,
    /// The loopback port of the Ark server; 0 picks a free one.
    pub ark_port: u16,
    /// The loopback port of the Ark server's administration service; 0 picks a free one, and `None` leaves the service out.
    pub ark_admin_port: Option<u16>,
    /// The Ark server's parameters.
    pub ark: Params,
    /// The settings of automatic mining.
    pub auto_mine: AutoMine,
    /// The initial fee estimates; on a real node, those that replace missing estimates of the node.
    pub fee_rates: FeeRates,
    /// Lowest fee rate that the simulated mempool relays.
    pub min_relay_fee: FeeRate,
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox {
            data_dir: None,
            bitcoind: None,
            seed: None,
            http_port: 0,
            chain_proxy_port: 0,
            ark_port: 0,
            ark_admin_port: None,
            ark: Params::free(),
            auto_mine: AutoMine {
                on: true,
                delay: Duration::from_secs(1),
            },
            fee_rates: FeeRates {
                fast: FeeRate::from_sat_per_vb_u32(3),
                regular: FeeRate::from_sat_per_vb_u32(2),
                slow: FeeRate::from_sat_per_vb_u32(1),
            },
            min_relay_fee: FeeRate::from_sat_per_vb_u32(1),
        }
    }
}

/// A running sandbox.
pub struct SandboxHandle {
    /// The base of the Esplora API, without a slash at its end.
    pub esplora_url: String,
    /// The base of the control API, without a slash at its end.
    pub control_url: String,
    /// Where the Ark server's clients connect.
    pub ark_url: String,
    /// An `lnurl1…` that takes every payment.
    pub lnurl: String,
    /// The chain.
    pub chain: Chain,
    /// A proxy before the chain, which wallets connect to; it applies the chain faults.
    pub chain_proxy: ChainProxy,
    /// The Ark server.
    pub ark: ArkServer,
    /// The wallet that coins are mined to and the faucet pays from.
    pub faucet: Arc<CoinWallet>,
    stop: CancellationToken,
    http: JoinHandle<std::io::Result<()>>,
}

impl Sandbox {
    /// Starts everything; the listeners accept connections when this returns.
    pub async fn start(self) -> anyhow::Result<SandboxHandle> {
        let seed = match self.seed {
            Some(seed) => seed,
            None => load_seed(self.data_dir.as_deref())?,
        };
        let faucet_key = CoinKey::derive(&seed, "faucet");
        let config = ChainConfig {
            dir: self.data_dir.as_ref().map(|dir| dir.join("chain")),
            coinbase_script: faucet_key.script(),
            min_relay_fee: self.min_relay_fee,
            auto_mine: self.auto_mine,
            fee_rates: self.fee_rates,
        };
        let node_url = self.bitcoind.as_ref().map(|node| node.url.clone());
        let chain = match self.bitcoind {
            None => Chain::start(config)?,
            Some(node) => Chain::connect(node, config).await?,
        };
        let faucet = Arc::new(CoinWallet::new(chain.clone(), faucet_key));
        fill(&chain, &faucet).await?;

        let ark = ArkServer::start(ArkServerOptions {
            chain: chain.clone(),
            params: self.ark,
            directory: self.data_dir.clone(),
            seed: Some(seed),
            port: self.ark_port,
            admin_port: self.ark_admin_port,
        })
        .await?;
        fund_server(&ark, &faucet, &chain).await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.http_port));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address}"))?;
        let base = format!("http://{}", listener.local_addr()?);
        let (esplora_url, control_url) = (format!("{base}/esplora"), format!("{base}/control"));
        let chain_proxy =
            ChainProxy::start(esplora_url.clone(), node_url, self.chain_proxy_port).await?;
        let control = control::router(chain.clone(), faucet.clone())
            .merge(ark.control_router())
            .merge(ark.stranger_router(faucet.clone()))
            .merge(chain_proxy.control_router())
            .fallback(control::unknown_path);
        let routes = Router::new()
            .nest("/esplora", esplora::router(chain.clone()))
            .nest("/control", control)
            .merge(lnurl::router(ark.lightning()));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let server = axum::serve(listener, routes).with_graceful_shutdown(stopped);
        let http = tokio::spawn(async move { server.await });
        tracing::info!(%esplora_url, %control_url, "sandbox started");
        Ok(SandboxHandle {
            esplora_url,
            control_url,
            lnurl: lnurl::encode(&base, "alice")?,
            ark_url: ark.address(),
            chain,
            chain_proxy,
            ark,
            faucet,
            stop,
            http,
        })
    }
}

impl SandboxHandle {
    /// Stops listening. The chain ends with its last handle; everything that it acknowledged is on disk by then.
    pub async fn stop(self) {
        self.chain_proxy.stop();
        self.ark.stop().await;
        self.stop.cancel();
        let abort = self.http.abort_handle();
        if tokio::time::timeout(LINGER, self.http).await.is_err() {
            abort.abort();
        }
    }
}

/// Pays the Ark server the coins for rounds and offboards, unless it has some: several, because each unfinished transaction locks
/// one.
async fn fund_server(ark: &ArkServer, faucet: &CoinWallet, chain: &Chain) -> anyhow::Result<()> {
    let balance = ark.coin_balance().await?;
    if balance.confirmed > Amount::ZERO {
        return Ok(());
    }
    let script = ark.coin_address().script_pubkey();
    let rate = chain.fee_rates().await?.regular;
    for _ in 0..SERVER_COINS {
        faucet.pay(script.clone(), SERVER_COIN, rate).await?;
    }
    chain.mine(1).await?;
    Ok(())
}

/// Mines until the faucet has spendable coins. On a node's existing chain it owns none at first.
async fn fill(chain: &Chain, faucet: &CoinWallet) -> anyhow::Result<()> {
    let height = chain.tip().await?.height;
    // One block less: the last one confirms the coins of the Ark server.
    chain
        .mine((FIRST_BLOCKS - 1).saturating_sub(height))
        .await?;
    if faucet.balance().await?.confirmed == Amount::ZERO {
        chain.mine(FIRST_BLOCKS).await?;
    }
    ensure!(
        faucet.balance().await?.confirmed > Amount::ZERO,
        "the chain is so long that the block subsidy is zero and the faucet earns nothing: start the node with a new data directory"
    );
    Ok(())
}

/// Reads the seed from the directory; writes a new one if there is none.
fn load_seed(dir: Option<&Path>) -> anyhow::Result<[u8; 32]> {
    let Some(dir) = dir else {
        return Ok(rand::random());
    };
    let path = dir.join("seed");
    if path.exists() {
        let hex =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        return <[u8; 32]>::from_hex(hex.trim())
            .with_context(|| format!("{} holds no seed", path.display()));
    }
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let seed: [u8; 32] = rand::random();
    std::fs::write(&path, seed.to_lower_hex_string())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_keeps_chain_and_keys_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox {
            data_dir: Some(dir.path().to_owned()),
            ..Sandbox::default()
        };
        let first = sandbox.clone().start().await.unwrap();
        let address = first.faucet.address();
        first.chain.mine(2).await.unwrap();
        let tip = first.chain.tip().await.unwrap();
        assert_eq!(tip.height, FIRST_BLOCKS + 2);
        first.stop().await;

        let second = sandbox.start().await.unwrap();
        assert_eq!(second.chain.tip().await.unwrap(), tip);
        assert_eq!(second.faucet.address(), address);
        assert!(second.faucet.balance().await.unwrap().confirmed > Amount::ZERO);
    }

    #[tokio::test]
    async fn two_sandboxes_are_independent() {
        let (one, other) = (
            Sandbox::default().start().await.unwrap(),
            Sandbox::default().start().await.unwrap(),
        );
        one.chain.mine(1).await.unwrap();
        assert_ne!(one.esplora_url, other.esplora_url);
        assert_eq!(other.chain.tip().await.unwrap().height, FIRST_BLOCKS);
    }

    #[tokio::test]
    async fn the_chain_proxy_applies_a_fault() {
        let sandbox = Sandbox::default().start().await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let tip = format!("{}/blocks/tip/height", sandbox.chain_proxy.url());
        let height = http.get(&tip).send().await.unwrap().text().await.unwrap();
        assert_eq!(height, FIRST_BLOCKS.to_string());
        let rules = format!("{}/chain-faults", sandbox.control_url);
        let busy = serde_json::json!({"type": "answer", "code": 503, "body": "busy"});
        let rule = serde_json::json!({"target": "/blocks/tip/*", "action": busy});
        let added = http.post(rules).json(&rule).send().await.unwrap();
        assert_eq!(added.status(), 200);
        assert_eq!(http.get(&tip).send().await.unwrap().status(), 503);
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn the_printed_lnurl_leads_to_an_invoice_of_the_world() {
        let sandbox = Sandbox::default().start().await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let get = async |url: String| -> serde_json::Value {
            let answer = http.get(url).send().await.unwrap();
            answer.json().await.unwrap()
        };
        let (hrp, url) = bitcoin::bech32::decode(&sandbox.lnurl).unwrap();
        assert_eq!(hrp.as_str(), "lnurl");
        let terms = get(String::from_utf8(url).unwrap()).await;
        let callback = terms["callback"].as_str().unwrap();
        let answer = get(format!("{callback}?amount=21000&comment=hello")).await;
        let invoice: lightning_invoice::Bolt11Invoice =
            answer["pr"].as_str().unwrap().parse().unwrap();
        assert_eq!(invoice.amount_milli_satoshis(), Some(21_000));
        let control = &sandbox.control_url;
        let issued = get(format!("{control}/ln/invoice/{}", invoice.payment_hash())).await;
        assert_eq!(issued["comment"], "hello");
        sandbox.stop().await;
    }
}
