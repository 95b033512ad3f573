//! Which chain backend to use, and how to reach it.

use bitcoin::FeeRate;
use url::Url;

use super::bitcoind::BitcoindAuth;

/// The settings of a chain source.
#[derive(Clone)]
pub struct ChainConfig {
    /// The backend.
    pub backend: BackendConfig,
    /// The fee rate of each tier for which the backend has no estimate.
    pub fallback_fee_rate: FeeRate,
}

/// The kind of the chain backend, and how to reach it.
#[derive(Clone)]
pub enum BackendConfig {
    /// An Esplora HTTP API.
    Esplora {
        /// Its base URL. Without a scheme, `https://` is assumed.
        url: String,
        /// A proxy for all requests, as `socks5h://host:port`.
        socks5_proxy: Option<String>,
    },
    /// A bitcoind of version 29 or newer with `txindex=1`. It is never reached through a proxy.
    Bitcoind {
        /// The URL of its RPC interface.
        url: Url,
        /// How to log in.
        auth: BitcoindAuth,
        /// The endpoint of its option `zmqpubhashblock`, as `tcp://host:port`. Without it, new blocks are found by polling only.
        zmq: Option<String>,
    },
}
