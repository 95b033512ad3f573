//! The client of the operator's own bitcoind. The node is trusted: it validates the chain.

mod blocks;
mod rpc;
mod spend_index;
mod spends;
#[cfg(test)]
mod tests;
mod zmq;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, Block, BlockHash, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

pub use self::rpc::BitcoindAuth;
use self::rpc::{CallError, Rpc, code, optional};
use self::spend_index::SpendIndex;
use self::zmq::BlockNotifications;
use super::error::{Verdict, classify};
use super::package::{PackageResult, package_verdict};
use super::{BroadcastError, Error, MempoolPackage, Tip, TxStatus};

/// The first version that relays zero-fee parents with their child (H39).
const MIN_VERSION: u64 = 290_000;

/// A bitcoind with `txindex=1`.
pub(crate) struct Bitcoind {
    rpc: Rpc,
    block_notifications: Option<BlockNotifications>,
    spends: SpendIndex,
    /// Held by the running search for a spender, so that there is one at a time.
    running_search: Arc<tokio::sync::Mutex<()>>,
}

/// The answer of `getblockheader`.
#[derive(Deserialize)]
struct Header {
    /// Negative if the block is not in the best chain.
    confirmations: i64,
    height: u32,
    #[serde(rename = "nextblockhash")]
    next: Option<BlockHash>,
}

impl Header {
    fn in_best_chain(&self) -> bool {
        self.confirmations > 0
    }
}

impl Bitcoind {
    pub(super) fn new(
        url: Url,
        auth: BitcoindAuth,
        zmq: Option<String>,
    ) -> Result<Bitcoind, Error> {
        Ok(Bitcoind {
            rpc: Rpc::new(url, auth)?,
            block_notifications: zmq.map(BlockNotifications::subscribe),
            spends: SpendIndex::default(),
            running_search: Arc::default(),
        })
    }

    pub(super) fn url(&self) -> &str {
        self.rpc.url()
    }

    /// Refuses a node that is too old or has no transaction index.
    pub(super) async fn check(&self) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct NetworkInfo {
            version: u64,
        }
        let info: NetworkInfo = self.rpc.call("getnetworkinfo", json!([])).await?;
        if info.version < MIN_VERSION {
            return Err(Error::Config(format!(
                "the bitcoind at {} is too old: it has version {}; upgrade it to {MIN_VERSION} (29.0) or newer, which \
                 relays zero-fee packages",
                self.url(),
                info.version
            )));
        }
        let indexes: BTreeMap<String, Value> = self.rpc.call("getindexinfo", json!([])).await?;
        if !indexes.contains_key("txindex") {
            return Err(Error::Config(format!(
                "the bitcoind at {} has no transaction index: put txindex=1 into its bitcoin.conf and restart it",
                self.url()
            )));
        }
        Ok(())
    }

    /// Resolves when the node announces a block; never without ZMQ.
    pub(super) async fn next_block_notification(&self) {
        match &self.block_notifications {
            Some(notifications) => notifications.next().await,
            None => std::future::pending().await,
        }
    }

    /// The hash of the best chain's block at a height.
    pub(crate) async fn block_hash(&self, height: BlockHeight) -> Result<BlockHash, Error> {
        let params = json!([height.to_u32()]);
        Ok(self.rpc.call("getblockhash", params).await?)
    }

    pub(super) async fn tip(&self, last: Option<Tip>) -> Result<Tip, Error> {
        let hash = self.rpc.call("getbestblockhash", json!([])).await?;
        if let Some(last) = last.filter(|last| last.hash == hash) {
            return Ok(last);
        }
        let header = self.known_header(hash).await?;
        let height = BlockHeight::new(header.height);
        Ok(Tip { height, hash })
    }

    pub(super) async fn transaction(&self, txid: Txid) -> Result<Option<Transaction>, Error> {
        let call = self.rpc.call::<String>("getrawtransaction", json!([txid]));
        let Some(hex) = optional(call.await)? else {
            return Ok(None);
        };
        decode_transaction(&hex).map(Some)
    }

    pub(super) async fn status(&self, txid: Txid) -> Result<TxStatus, Error> {
        #[derive(Deserialize)]
        struct Located {
            blockhash: Option<BlockHash>,
        }
        let call = self.rpc.call("getrawtransaction", json!([txid, 1]));
        let located: Option<Located> = optional(call.await)?;
        let Some(located) = located else {
            return Ok(TxStatus::NotFound);
        };
        let Some(hash) = located.blockhash else {
            return Ok(TxStatus::Mempool);
        };
        // The node searches the mempool before its index. So a transaction that it finds in a block outside of the best chain
        // is not in the mempool.
        let header = self.known_header(hash).await?;
        if !header.in_best_chain() {
            return Ok(TxStatus::NotFound);
        }
        let height = BlockHeight::new(header.height);
        Ok(TxStatus::Confirmed { height, hash })
    }

    pub(super) async fn mempool_package(
        &self,
        txid: Txid,
    ) -> Result<Option<MempoolPackage>, Error> {
        #[derive(Deserialize)]
        struct Entry {
            /// In vB. Includes the transaction itself (W25).
            ancestorsize: u64,
            fees: Fees,
        }
        #[derive(Deserialize)]
        struct Fees {
            #[serde(with = "bitcoin::amount::serde::as_btc")]
            ancestor: Amount,
        }
        let call = self.rpc.call("getmempoolentry", json!([txid]));
        let entry: Option<Entry> = optional(call.await)?;
        Ok(entry.map(|entry| MempoolPackage {
            fee: entry.fees.ancestor,
            vsize: entry.ancestorsize,
        }))
    }

    pub(super) async fn broadcast(&self, txs: &[Transaction]) -> Result<(), BroadcastError> {
        if let [single] = txs {
            let params = json!([serialize_hex(single)]);
            let sent: Result<Txid, CallError> = self.rpc.call("sendrawtransaction", params).await;
            return sent.map(|_| ()).or_else(refusal);
        }
        let package: Vec<String> = txs.iter().map(serialize_hex).collect();
        let submitted: Result<PackageResult, CallError> =
            self.rpc.call("submitpackage", json!([package])).await;
        match submitted {
            Ok(result) => package_verdict(txs, &result),
            Err(error) => refusal(error),
        }
    }

    /// Estimates in sat/vB by confirmation target in blocks. Targets for which the node has no estimate are left out.
    pub(super) async fn fee_estimates(&self) -> Result<BTreeMap<u16, f64>, Error> {
        #[derive(Deserialize)]
        struct Estimate {
            /// In bitcoin per 1000 vB.
            feerate: Option<f64>,
        }
        let targets = [1, 3, 6];
        let params = targets.map(|target| json!([target, "economical"]));
        let answers = self.rpc.call_each::<Estimate>("estimatesmartfee", &params);
        let mut estimates = BTreeMap::new();
        for (target, estimate) in targets.into_iter().zip(answers.await?) {
            if let Some(rate) = estimate?.feerate {
                // Rounded to a satoshi per 1000 vB, because rates are rounded up later and the error of the binary fraction
                // would raise them.
                estimates.insert(target, (rate * 1e8).round() / 1e3);
            }
        }
        Ok(estimates)
    }

    async fn header(&self, hash: BlockHash) -> Result<Option<Header>, Error> {
        Ok(optional(
            self.rpc.call("getblockheader", json!([hash])).await,
        )?)
    }

    async fn known_header(&self, hash: BlockHash) -> Result<Header, Error> {
        let header = self.header(hash).await?;
        header.ok_or_else(|| {
            Error::Invalid(format!("it reported block {hash} but has no header of it"))
        })
    }

    async fn block(&self, hash: BlockHash) -> Result<Block, Error> {
        let hex: String = self.rpc.call("getblock", json!([hash, 0])).await?;
        let block: Block =
            deserialize_hex(&hex).map_err(|error| Error::Invalid(error.to_string()))?;
        if block.block_hash() != hash {
            return Err(Error::Invalid(format!(
                "it returned another block for the hash {hash}"
            )));
        }
        Ok(block)
    }
}

fn decode_transaction(hex: &str) -> Result<Transaction, Error> {
    deserialize_hex(hex).map_err(|error| Error::Invalid(error.to_string()))
}

/// The verdict of a failed submission.
fn refusal(error: CallError) -> Result<(), BroadcastError> {
    match error {
        CallError::Refused(refusal) if refusal.code == code::ALREADY_IN_CHAIN => Ok(()),
        CallError::Refused(refusal) => match classify(&refusal.message) {
            Verdict::AlreadyKnown => Ok(()),
            Verdict::Refused(refused) => Err(refused),
        },
        CallError::Failed(error) => Err(BroadcastError::Unavailable(error.to_string())),
    }
}
