//! The chain fixture of `arkwalletd_sandbox::testing`, connected to a [`ChainSource`].

use arkwalletd_sandbox::testing::{Bitcoind, Regtest};
use bitcoin::{FeeRate, Network};

use super::{BackendConfig, BitcoindAuth, ChainConfig, ChainSource};

pub(crate) const NETWORK: Network = Network::Regtest;
pub(crate) const FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

/// Makes a test for each backend of each scenario, an `async fn(Regtest)`.
macro_rules! on_each_backend {
    ($($scenario:ident),+ $(,)?) => {
        mod on_esplora {
            use arkwalletd_sandbox::testing::Regtest;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(Regtest::simulated().await).await;
            })+
        }
        mod on_bitcoind {
            use arkwalletd_sandbox::testing::Regtest;
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
            async fn $scenario() {
                super::$scenario(Regtest::on_bitcoind().await).await;
            })+
        }
    };
}
pub(crate) use on_each_backend;

/// Connects to the node of the fixture, else to its Esplora API.
pub(crate) async fn connect(regtest: &Regtest) -> ChainSource {
    let backend = match &regtest.node {
        Some(node) => backend(node, cookie(node)),
        None => BackendConfig::Esplora {
            url: regtest.sandbox.esplora_url.clone(),
            socks5_proxy: None,
        },
    };
    connect_to(backend).await
}

pub(crate) async fn connect_to(backend: BackendConfig) -> ChainSource {
    let config = ChainConfig {
        backend,
        fallback_fee_rate: FEE_RATE,
    };
    ChainSource::connect(&config, NETWORK).await.unwrap()
}

pub(crate) fn cookie(node: &Bitcoind) -> BitcoindAuth {
    BitcoindAuth::Cookie(node.cookie_file())
}

pub(crate) fn backend(node: &Bitcoind, auth: BitcoindAuth) -> BackendConfig {
    BackendConfig::Bitcoind {
        url: node.url().parse().unwrap(),
        auth,
        zmq: None,
    }
}
