//! The wallet's view of the bitcoin chain: one handle, whatever serves it (docs/protocol.md §9).
//!
//! A backend only answers questions; what everybody should know at once (the tip, the fee rates, confirmed transactions)
//! is remembered here. No request to a backend takes longer than ten seconds.

mod bitcoind;
mod error;
mod esplora;
mod fees;
#[cfg(test)]
pub(crate) mod fixture;
mod package;
mod raw;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
mod tip;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitcoin::constants::genesis_block;
use bitcoin::{BlockHash, FeeRate, Network, OutPoint, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use tokio::sync::watch;
use url::Url;

pub(crate) use bitcoind::Bitcoind;
pub use bitcoind::BitcoindAuth;
pub use error::{BroadcastError, Error};
pub(crate) use esplora::Esplora;
use fees::FeeCache;
pub use fees::FeeRates;
use raw::RawCache;
pub use tip::Tip;
use tip::TipCache;

/// The longest that a request to a backend may take, retries included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Which backend to ask, and what to pay when it does not know.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// The backend.
    pub backend: BackendConfig,
    /// The fee rate of every tier that the backend has no estimate for.
    pub fallback_fee_rate: FeeRate,
}

/// Where the chain is served.
#[derive(Clone, Debug)]
pub enum BackendConfig {
    /// An Esplora HTTP API.
    Esplora {
        /// Its base URL; `https://` when no scheme is given.
        url: String,
        /// A proxy for all requests, as `socks5h://host:port`.
        socks5_proxy: Option<String>,
    },
    /// A bitcoind of version 29 or newer with `txindex=1`. It is always reached directly.
    Bitcoind {
        /// Where its RPC interface listens.
        url: Url,
        /// How to log in.
        auth: BitcoindAuth,
        /// Where it announces blocks, as `tcp://host:port` (its option `zmqpubhashblock`); without it the tip is only polled.
        zmq: Option<String>,
    },
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// The backend does not know it.
    NotFound,
    /// It waits for a block.
    Mempool,
    /// It is in the best chain.
    Confirmed {
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        hash: BlockHash,
    },
}

/// The transaction that spends an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// Its id.
    pub txid: Txid,
    /// Where it is.
    pub status: TxStatus,
}

enum Backend {
    Esplora(Esplora),
    Bitcoind(Arc<Bitcoind>),
}

struct Shared {
    backend: Backend,
    network: Network,
    /// Whether the backend is known to follow our network and to be able to serve us.
    checked: AtomicBool,
    tips: TipCache,
    fees: FeeCache,
    confirmed: RawCache,
}

/// A handle to the chain backend. Clones share it.
#[derive(Clone)]
pub struct ChainSource(Arc<Shared>);

impl ChainSource {
    /// Sets a source up without asking the backend anything. Before its first answer counts, the backend is checked: it must
    /// be on `network` and able to serve us. Until it is, every question fails.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work.
    pub fn new(config: &ChainConfig, network: Network) -> Result<ChainSource, Error> {
        let backend = match &config.backend {
            BackendConfig::Esplora { url, socks5_proxy } => {
                Backend::Esplora(Esplora::new(url, socks5_proxy.as_deref())?)
            }
            BackendConfig::Bitcoind { url, auth, zmq } => {
                let node = Bitcoind::new(url.clone(), auth.clone(), zmq.clone())?;
                Backend::Bitcoind(Arc::new(node))
            }
        };
        Ok(ChainSource(Arc::new(Shared {
            backend,
            network,
            checked: AtomicBool::new(false),
            tips: TipCache::new(),
            fees: FeeCache::new(config.fallback_fee_rate),
            confirmed: RawCache::default(),
        })))
    }

    /// Sets a source up, checks its backend, and learns the tip.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work and for a bitcoind that is too old or has no transaction index,
    /// [`Error::WrongNetwork`], [`Error::Unavailable`] when it does not answer.
    pub async fn connect(config: &ChainConfig, network: Network) -> Result<ChainSource, Error> {
        let chain = ChainSource::new(config, network)?;
        chain.tip().await?;
        Ok(chain)
    }

    /// A source whose backend does not answer, for tests without a chain. It remembers `tip`.
    #[cfg(test)]
    pub(crate) fn unreachable(tip: Tip) -> ChainSource {
        let esplora = Esplora::new("http://127.0.0.1:1", None).expect("the URL is well-formed");
        let chain = ChainSource(Arc::new(Shared {
            backend: Backend::Esplora(esplora),
            network: Network::Regtest,
            checked: AtomicBool::new(true),
            tips: TipCache::new(),
            fees: FeeCache::new(FeeRate::BROADCAST_MIN),
            confirmed: RawCache::default(),
        }));
        chain.0.tips.saw(tip);
        chain
    }

    /// The backend, once it has passed its check.
    async fn backend(&self) -> Result<&Backend, Error> {
        let Shared {
            backend, network, ..
        } = &*self.0;
        if self.0.checked.load(Ordering::Relaxed) {
            return Ok(backend);
        }
        match backend {
            Backend::Esplora(esplora) => {
                let genesis = esplora.block_hash(BlockHeight::ZERO).await?;
                check_network(esplora.url(), *network, genesis)?;
            }
            Backend::Bitcoind(node) => {
                let genesis = node.block_hash(BlockHeight::ZERO).await?;
                check_network(node.url(), *network, genesis)?;
                node.check().await?;
            }
        }
        self.0.checked.store(true, Ordering::Relaxed);
        Ok(backend)
    }

    /// The newest block; an answer of the last second is used again.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn tip(&self) -> Result<Tip, Error> {
        if let Some(tip) = self.0.tips.fresh() {
            return Ok(tip);
        }
        let answer = self.ask_for_tip().await;
        match &answer {
            Ok(tip) => self.0.tips.saw(*tip),
            Err(_) => self.0.tips.failed(),
        }
        answer
    }

    async fn ask_for_tip(&self) -> Result<Tip, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.tip(self.last_tip()).await,
            Backend::Bitcoind(node) => node.tip(self.last_tip()).await,
        }
    }

    /// The newest block anyone has seen, without asking.
    pub fn last_tip(&self) -> Option<Tip> {
        self.0.tips.last()
    }

    /// Resolves when the backend announces a block, and makes the next [`tip`](Self::tip) ask it; never resolves without
    /// announcements. It speeds polling up and does not replace it. Meant for one waiter; one announcement wakes one.
    pub async fn wait_for_block_hint(&self) {
        match &self.0.backend {
            Backend::Esplora(_) => std::future::pending().await,
            Backend::Bitcoind(node) => node.wait_for_block_hint().await,
        }
        self.0.tips.expire();
    }

    /// Resolves when the backend has told the tip again after it could not; not before it next fails and recovers.
    pub async fn next_return(&self) {
        self.0.tips.next_return().await;
    }

    /// Follows the tip: changes whenever anyone sees another height or hash.
    pub fn subscribe_tips(&self) -> watch::Receiver<Option<Tip>> {
        self.0.tips.subscribe()
    }

    /// A transaction in the chain or the mempool; `None` when the backend does not know it. One that was confirmed when it
    /// was fetched is remembered, so a found transaction is no proof that it is still there: ask [`status`](Self::status).
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn transaction(&self, txid: Txid) -> Result<Option<Transaction>, Error> {
        if let Some(transaction) = self.0.confirmed.get(txid) {
            return Ok(Some((*transaction).clone()));
        }
        let found = match self.backend().await? {
            Backend::Esplora(esplora) => esplora.transaction(txid).await?,
            Backend::Bitcoind(node) => node.transaction(txid).await?,
        };
        let Some(transaction) = found else {
            return Ok(None);
        };
        if let TxStatus::Confirmed { .. } = self.status(txid).await? {
            self.0.confirmed.insert(txid, transaction.clone());
        }
        Ok(Some(transaction))
    }

    /// Where a transaction is now.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn status(&self, txid: Txid) -> Result<TxStatus, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.status(txid).await,
            Backend::Bitcoind(node) => node.status(txid).await,
        }
    }

    /// How many blocks a transaction is deep: 1 in the newest block, 0 in the mempool, `None` when the backend does not know it.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn confirmations(&self, txid: Txid) -> Result<Option<u32>, Error> {
        match self.status(txid).await? {
            TxStatus::NotFound => Ok(None),
            TxStatus::Mempool => Ok(Some(0)),
            TxStatus::Confirmed { height, .. } => {
                let tip = self.tip().await?.height;
                let behind = tip.checked_blocks_since(height);
                Ok(Some(behind.map_or(0, |blocks| blocks.saturating_add(1))))
            }
        }
    }

    /// Who spends an output; `None` when nobody does or the output is unknown.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn spender(&self, outpoint: OutPoint) -> Result<Option<Spend>, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.spender(outpoint).await,
            Backend::Bitcoind(node) => node.spender(outpoint).await,
        }
    }

    /// Whether a coin of the transaction was spent by another that is confirmed. Anything less is no reason to give a
    /// transaction up (docs/protocol.md H7).
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn is_double_spent(&self, transaction: &Transaction) -> Result<bool, Error> {
        let txid = transaction.compute_txid();
        for input in &transaction.input {
            if let Some(spend) = self.spender(input.previous_output).await?
                && spend.txid != txid
                && matches!(spend.status, TxStatus::Confirmed { .. })
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands transactions to the network, parents first. Those already known count as accepted.
    ///
    /// # Errors
    /// The first real refusal in package order, because a refused parent makes its children look as if they lacked inputs
    /// (docs/protocol.md §9.2).
    pub async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), BroadcastError> {
        let backend = self.backend().await;
        match backend.map_err(|error| BroadcastError::Unavailable(error.to_string()))? {
            Backend::Esplora(esplora) => esplora.broadcast(txs).await,
            Backend::Bitcoind(node) => node.broadcast(txs).await,
        }
    }

    /// The last known fee rates, or the fallback, without asking.
    pub fn fee_rates(&self) -> FeeRates {
        self.0.fees.last()
    }

    /// The fee rates of the last 30 seconds, asking the backend when they are older. A failure leaves the known rates as
    /// they are.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn refresh_fee_rates(&self) -> Result<FeeRates, Error> {
        if let Some(rates) = self.0.fees.fresh() {
            return Ok(rates);
        }
        let estimates = match self.backend().await? {
            Backend::Esplora(esplora) => esplora.fee_estimates().await?,
            Backend::Bitcoind(node) => node.fee_estimates().await?,
        };
        Ok(self.0.fees.fetched(&estimates))
    }

    /// What serves the on-chain wallet.
    ///
    /// # Errors
    /// [`Error`] when the backend does not pass its check.
    pub(crate) async fn wallet_source(&self) -> Result<WalletSource<'_>, Error> {
        Ok(match self.backend().await? {
            Backend::Esplora(esplora) => WalletSource::Addresses(esplora),
            Backend::Bitcoind(node) => WalletSource::Blocks(node),
        })
    }
}

/// The two ways in which an on-chain wallet learns what it has.
pub(crate) enum WalletSource<'a> {
    /// It asks about its addresses.
    Addresses(&'a Esplora),
    /// It looks through blocks and mempool itself.
    Blocks(&'a Bitcoind),
}

fn check_network(url: &str, network: Network, genesis: BlockHash) -> Result<(), Error> {
    if genesis == genesis_block(network).block_hash() {
        return Ok(());
    }
    Err(Error::WrongNetwork {
        url: url.to_owned(),
        network,
        genesis,
    })
}
