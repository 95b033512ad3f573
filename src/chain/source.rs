//! The handle to the chain backend, whichever kind it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitcoin::constants::genesis_block;
use bitcoin::{BlockHash, Network, OutPoint, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use tokio::sync::watch;

use super::bitcoind::Bitcoind;
use super::config::{BackendConfig, ChainConfig};
use super::error::{BroadcastError, Error};
use super::esplora::Esplora;
use super::fees::{FeeCache, FeeRates};
use super::status::{MempoolPackage, Spend, TxStatus};
use super::tip::{Tip, TipCache};
use super::tx_cache::TxCache;

enum Backend {
    Esplora(Esplora),
    Bitcoind(Arc<Bitcoind>),
}

struct Shared {
    backend: Backend,
    network: Network,
    /// Whether the backend has passed its check.
    checked: AtomicBool,
    tips: TipCache,
    fees: FeeCache,
    confirmed: TxCache,
}

/// A handle to the chain backend. Clones share it.
#[derive(Clone)]
pub struct ChainSource(Arc<Shared>);

impl ChainSource {
    /// Makes a source without sending anything to the backend. The first request checks the backend: it must be on `network`
    /// and have what the wallet needs. Until the backend passes the check, every request fails.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings.
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
            confirmed: TxCache::default(),
        })))
    }

    /// Makes a source, checks its backend, and requests the tip.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings and for a bitcoind that is too old or has no transaction index,
    /// [`Error::WrongNetwork`], [`Error::Unavailable`] when the backend does not answer.
    pub async fn connect(config: &ChainConfig, network: Network) -> Result<ChainSource, Error> {
        let chain = ChainSource::new(config, network)?;
        chain.tip().await?;
        Ok(chain)
    }

    /// A source whose backend does not answer, for tests without a chain. Its last known tip is `tip`.
    #[cfg(test)]
    pub(crate) fn unreachable(tip: Tip) -> ChainSource {
        let esplora = Esplora::new("http://127.0.0.1:1", None).expect("the URL is well-formed");
        let chain = ChainSource(Arc::new(Shared {
            backend: Backend::Esplora(esplora),
            network: Network::Regtest,
            checked: AtomicBool::new(true),
            tips: TipCache::new(),
            fees: FeeCache::new(bitcoin::FeeRate::BROADCAST_MIN),
            confirmed: TxCache::default(),
        }));
        chain.0.tips.record(tip);
        chain
    }

    /// Makes the next [`tip`](Self::tip) ask the backend.
    #[cfg(test)]
    pub(super) fn expire_tip(&self) {
        self.0.tips.expire();
    }

    /// The backend. Checks it first if it has not passed its check yet.
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

    /// The newest block of the best chain. An answer younger than one second is reused.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn tip(&self) -> Result<Tip, Error> {
        if let Some(tip) = self.0.tips.fresh() {
            return Ok(tip);
        }
        let answer = self.request_tip().await;
        match &answer {
            Ok(tip) => self.0.tips.record(*tip),
            Err(_) => self.0.tips.record_failure(),
        }
        answer
    }

    async fn request_tip(&self) -> Result<Tip, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.tip(self.last_tip()).await,
            Backend::Bitcoind(node) => node.tip(self.last_tip()).await,
        }
    }

    /// The hash of the block of the best chain at this height.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer, or has no block there.
    pub async fn block_hash(&self, height: BlockHeight) -> Result<BlockHash, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.block_hash(height).await,
            Backend::Bitcoind(node) => node.block_hash(height).await,
        }
    }

    /// The last known tip, without a request; `None` before the first answer.
    pub fn last_tip(&self) -> Option<Tip> {
        self.0.tips.last()
    }

    /// Resolves when the backend announces a block, and makes the next [`tip`](Self::tip) ask the backend. Never resolves if the
    /// backend announces none, so callers poll as well. A notification wakes one caller only.
    pub async fn next_block_notification(&self) {
        match &self.0.backend {
            Backend::Esplora(_) => std::future::pending().await,
            Backend::Bitcoind(node) => node.next_block_notification().await,
        }
        self.0.tips.expire();
    }

    /// Resolves when the backend answers a request for the tip after it failed to. If the backend works at the time of the
    /// call, this waits for a failure first.
    pub async fn next_recovery(&self) {
        self.0.tips.next_recovery().await;
    }

    /// Subscribes to the tip. The value changes when any request finds another height or hash.
    pub fn subscribe_tips(&self) -> watch::Receiver<Option<Tip>> {
        self.0.tips.subscribe()
    }

    /// A transaction in the chain or the mempool; `None` when the backend does not know it. Confirmed transactions are cached,
    /// so the result does not prove that the transaction is still in the chain; [`status`](Self::status) does.
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
        if self.status(txid).await?.is_confirmed() {
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

    /// The confirmations of a transaction: 1 in the newest block, 0 in the mempool, `None` when the backend does not know it.
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

    /// What a transaction in the mempool and its unconfirmed ancestors pay; `None` when it is not in the mempool.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn mempool_package(&self, txid: Txid) -> Result<Option<MempoolPackage>, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.mempool_package(txid).await,
            Backend::Bitcoind(node) => node.mempool_package(txid).await,
        }
    }

    /// The transaction that spends an output; `None` when the output is unspent or unknown.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn spender(&self, outpoint: OutPoint) -> Result<Option<Spend>, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.spender(outpoint).await,
            Backend::Bitcoind(node) => node.spender(outpoint).await,
        }
    }

    /// The transactions that spend these outputs; those that are unspent or unknown are left out. A bitcoind answers about a
    /// hundred unspent outputs at once, an Esplora server about each by itself.
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn spenders(
        &self,
        outpoints: &[OutPoint],
    ) -> Result<HashMap<OutPoint, Spend>, Error> {
        match self.backend().await? {
            Backend::Esplora(esplora) => esplora.spenders(outpoints).await,
            Backend::Bitcoind(node) => node.spenders(outpoints).await,
        }
    }

    /// How many outputs may be asked about at each block without overloading the backend.
    pub fn outputs_per_block(&self) -> usize {
        match self.0.backend {
            Backend::Esplora(_) => 200,
            Backend::Bitcoind(_) => 10_000,
        }
    }

    /// Whether another, confirmed transaction spends an input of this one. Only then may a transaction be given up (H7).
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn is_double_spent(&self, transaction: &Transaction) -> Result<bool, Error> {
        Ok(self.conflict_depth(transaction).await? > 0)
    }

    /// The confirmations of another transaction that spends an input of this one; 0 if none is confirmed. The more there are, the
    /// less can a reorganisation still confirm this transaction (H61).
    ///
    /// # Errors
    /// [`Error`] when the backend does not answer.
    pub async fn conflict_depth(&self, transaction: &Transaction) -> Result<u32, Error> {
        let txid = transaction.compute_txid();
        let mut deepest = 0;
        for input in &transaction.input {
            if let Some(spend) = self.spender(input.previous_output).await?
                && spend.txid != txid
                && let TxStatus::Confirmed { height, .. } = spend.status
            {
                let tip = self.tip().await?.height;
                let behind = tip.checked_blocks_since(height).unwrap_or(0);
                deepest = deepest.max(behind.saturating_add(1));
            }
        }
        Ok(deepest)
    }

    /// Broadcasts transactions, parents first. Those that the backend already has count as accepted.
    ///
    /// # Errors
    /// The first refusal in package order, because the refusal of a parent makes its children fail with missing inputs
    /// (docs/protocol.md §9.2).
    pub async fn broadcast_package(&self, txs: &[Transaction]) -> Result<(), BroadcastError> {
        let backend = self.backend().await;
        match backend.map_err(|error| BroadcastError::Unavailable(error.to_string()))? {
            Backend::Esplora(esplora) => esplora.broadcast(txs).await,
            Backend::Bitcoind(node) => node.broadcast(txs).await,
        }
    }

    /// The last known fee rates, without a request; the fallback before the first answer.
    pub fn fee_rates(&self) -> FeeRates {
        self.0.fees.last()
    }

    /// Fee rates that are at most 30 seconds old; requests new ones if the known ones are older. A failure leaves the known
    /// rates unchanged.
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
        Ok(self.0.fees.record(&estimates))
    }

    /// The backend as the on-chain wallet syncs from it.
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

/// The two ways in which the on-chain wallet finds its transactions.
pub(crate) enum WalletSource<'a> {
    /// The backend looks up addresses.
    Addresses(&'a Esplora),
    /// The wallet scans blocks and mempool itself.
    Blocks(&'a Bitcoind),
}

fn check_network(url: &str, network: Network, genesis: BlockHash) -> Result<(), Error> {
    if genesis == genesis_block(network).block_hash() {
        return Ok(());
    }
    Err(Error::WrongNetwork {
        url: without_login(url),
        network,
        genesis,
    })
}

/// A URL for a message, without the user and the password in it.
fn without_login(url: &str) -> String {
    let Ok(mut shown) = url.parse::<url::Url>() else {
        return "its address".to_owned();
    };
    // These fail only for URLs that cannot have a login.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string()
}
