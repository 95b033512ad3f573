//! A real regtest node in place of the simulation.
//!
//! Changes go over the node's RPC. Questions are answered from a view that follows the node, because a node has no index by script
//! or by spender. Neither a wallet of the node nor its transaction index is needed.

#[cfg(test)]
mod conformance;
mod follow;
mod reorg;
mod rpc;
mod submit;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use anyhow::ensure;
use bitcoin::{BlockHash, FeeRate, Txid};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::follow::poll;
use self::rpc::Rpc;
use super::ledger::Ledger;
use super::lock::lock;
use super::view::View;
use super::{AutoMine, BitcoindConfig, ChainConfig, FeeRates};

/// The first version that relays everything Ark needs: transactions of version 3, packages, anchors and ephemeral dust.
const LEAST_VERSION: u32 = 290_000;
/// Calls that are made in one request.
const CALLS_PER_BATCH: usize = 100;
/// Blocks that are mined in one request, so that none takes long.
const BLOCKS_PER_CALL: u32 = 100;
/// Fee delta, in sat, that keeps a transaction out of the blocks of the node's miner.
const HOLD: i64 = -2_100_000_000_000_000;

/// A node, and the view that follows it.
pub(super) struct Node {
    rpc: Rpc,
    /// Held while the view catches up: one at a time.
    following: tokio::sync::Mutex<()>,
    view: Mutex<View>,
    settings: Mutex<Settings>,
    config: ChainConfig,
}

/// Settings of the sandbox that the node does not know.
pub(super) struct Settings {
    pub(super) auto_mine: AutoMine,
    /// Served in place of the node's estimates.
    pub(super) fee_rates: Option<FeeRates>,
    /// Lowest fee rate that is mined.
    pub(super) min_mined_fee: FeeRate,
    /// Change counter of the mempool from which the node last mined nothing.
    pub(super) left_over: Option<u64>,
}

#[derive(Deserialize)]
struct NetworkInfo {
    version: u32,
    subversion: String,
}

#[derive(Deserialize)]
struct ChainInfo {
    chain: String,
    pruned: bool,
}

#[derive(Deserialize)]
struct MempoolInfo {
    /// Reported by Knots only; Core always enforces the rules of version 3.
    truc_policy: Option<String>,
}

impl Node {
    pub(super) async fn connect(node: BitcoindConfig, config: ChainConfig) -> anyhow::Result<Node> {
        let node = Node {
            rpc: Rpc::new(node)?,
            following: tokio::sync::Mutex::default(),
            view: Mutex::new(View::new(Ledger::new())),
            settings: Mutex::new(Settings {
                auto_mine: config.auto_mine,
                fee_rates: None,
                min_mined_fee: FeeRate::ZERO,
                left_over: None,
            }),
            config,
        };
        node.check().await?;
        node.refresh().await?;
        Ok(node)
    }

    /// Checks that the node is one that a sandbox can run on.
    async fn check(&self) -> anyhow::Result<()> {
        let NetworkInfo {
            version,
            subversion,
        } = self.rpc.call("getnetworkinfo", json!([])).await?;
        ensure!(
            version >= LEAST_VERSION,
            "the node is {subversion}, and only from 29.0 on do nodes relay what Ark broadcasts"
        );
        let ChainInfo { chain, pruned } = self.rpc.call("getblockchaininfo", json!([])).await?;
        ensure!(
            chain == "regtest",
            "the node runs on the chain {chain:?}, and a sandbox, which mines and reorganises, must be on regtest"
        );
        ensure!(
            !pruned,
            "the node is pruned, and the sandbox has to read all of its blocks: start it without -prune"
        );
        let MempoolInfo { truc_policy } = self.rpc.call("getmempoolinfo", json!([])).await?;
        ensure!(
            truc_policy.is_none_or(|policy| policy == "enforce"),
            "the node treats transactions of version 3 like any other, and would not relay those of Ark: start it with -corepolicy"
        );
        Ok(())
    }

    /// The last known state of the node.
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// The rates that were set, else the node's estimates, else those that the chain was configured with.
    pub(super) async fn fee_rates(&self) -> anyhow::Result<FeeRates> {
        if let Some(rates) = self.settings().fee_rates {
            return Ok(rates);
        }
        let targets = [json!([1]), json!([3]), json!([6])];
        let estimates = self.rpc.batch("estimatesmartfee", targets).await?;
        let estimate = |index: usize, fallback: FeeRate| {
            let answer = estimates.get(index).and_then(|answer| answer.as_ref().ok());
            answer.and_then(fee_rate).unwrap_or(fallback)
        };
        let fallback = self.config.fee_rates;
        Ok(FeeRates {
            fast: estimate(0, fallback.fast),
            regular: estimate(1, fallback.regular),
            slow: estimate(2, fallback.slow),
        })
    }

    /// Whether a block mined now would probably contain a transaction; false while the node does not answer.
    pub(super) async fn has_work(&self) -> bool {
        if self.settings().left_over == Some(self.view().mempool.changes()) {
            return false;
        }
        let Ok(held) = self.held().await else {
            return false;
        };
        let floor = self.settings().min_mined_fee;
        !self.view().mempool.minable(&held, floor).is_empty()
    }

    /// The descriptor that newly mined coins pay to.
    fn coinbase_descriptor(&self) -> String {
        format!("raw({})", self.config.coinbase_script.to_hex_string())
    }

    pub(super) async fn mine(&self, n: u32) -> anyhow::Result<Vec<BlockHash>> {
        let floor = self.settings().min_mined_fee;
        if floor > FeeRate::ZERO {
            return self.mine_above(floor, n).await;
        }
        let mut hashes = Vec::new();
        let mut left = n;
        while left > 0 {
            let now = left.min(BLOCKS_PER_CALL);
            let params = json!([now, self.coinbase_descriptor()]);
            let mined: Vec<BlockHash> = self.rpc.call("generatetodescriptor", params).await?;
            hashes.extend(mined);
            left -= now;
        }
        Ok(hashes)
    }

    /// Mines only what pays at least this rate, which the node's own miner can be told at its start only.
    async fn mine_above(&self, floor: FeeRate, n: u32) -> anyhow::Result<Vec<BlockHash>> {
        let mut hashes = Vec::new();
        for _ in 0..n {
            self.refresh().await?;
            let held = self.held().await?;
            let txids = self.view().mempool.minable(&held, floor);
            hashes.push(self.mine_these(&txids).await?);
        }
        Ok(hashes)
    }

    pub(super) async fn mine_empty(&self, n: u32) -> anyhow::Result<Vec<BlockHash>> {
        let mut hashes = Vec::new();
        for _ in 0..n {
            hashes.push(self.mine_these(&[]).await?);
        }
        Ok(hashes)
    }

    /// Mines a block with these transactions of the mempool, parents first.
    async fn mine_these(&self, txids: &[Txid]) -> anyhow::Result<BlockHash> {
        #[derive(Deserialize)]
        struct Mined {
            hash: BlockHash,
        }
        let params = json!([self.coinbase_descriptor(), txids]);
        let Mined { hash } = self.rpc.call("generateblock", params).await?;
        Ok(hash)
    }

    /// Keeps a transaction of the mempool out of the blocks that the node mines, until the node is restarted without its
    /// mempool.
    pub(super) async fn hold(&self, txid: Txid) -> anyhow::Result<()> {
        ensure!(
            self.view().mempool.contains(&txid),
            "a real node can only hold what is in its mempool, and {txid} is not"
        );
        self.set_delta(txid, HOLD).await
    }

    pub(super) async fn unhold(&self, txid: Txid) -> anyhow::Result<()> {
        self.set_delta(txid, 0).await?;
        self.settings().left_over = None;
        Ok(())
    }

    /// The transactions that are on hold.
    async fn held(&self) -> anyhow::Result<HashSet<Txid>> {
        let deltas = self.deltas().await?;
        let held = |(txid, delta): (Txid, Delta)| (delta.fee_delta <= HOLD).then_some(txid);
        Ok(deltas.into_iter().filter_map(held).collect())
    }

    /// Sets the fee delta by which the node's miner prioritises a transaction.
    async fn set_delta(&self, txid: Txid, delta: i64) -> anyhow::Result<()> {
        let old = self
            .deltas()
            .await?
            .get(&txid)
            .map_or(0, |delta| delta.fee_delta);
        if old != delta {
            let params = json!([txid, 0, delta - old]);
            let _: bool = self.rpc.call("prioritisetransaction", params).await?;
        }
        Ok(())
    }

    async fn deltas(&self) -> anyhow::Result<HashMap<Txid, Delta>> {
        self.rpc.call("getprioritisedtransactions", json!([])).await
    }
}

#[derive(Deserialize)]
struct Delta {
    /// In satoshi.
    fee_delta: i64,
}

/// The rate of an estimate, if it holds one.
fn fee_rate(estimate: &Value) -> Option<FeeRate> {
    let btc_per_kvb = estimate["feerate"].as_f64()?;
    submit::rate_of_btc_per_kvb(btc_per_kvb)
}
