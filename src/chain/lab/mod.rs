//! A chain to test on: the sandbox's behind Esplora, or a real bitcoind. The same scenarios run on both.

mod node;

use std::time::Duration;

use bitcoin::{Address, Amount, FeeRate, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid};

pub(crate) use self::node::{Node, PASSWORD, USER};
use super::{BackendConfig, ChainConfig, ChainSource};
use arkwalletd_sandbox::chain::{AutoMine, Reorg};
use arkwalletd_sandbox::coins::CoinKey;
use arkwalletd_sandbox::{Sandbox, SandboxHandle};

pub(crate) const NETWORK: Network = Network::Regtest;
pub(crate) const FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

/// A chain that mines only when asked, and money on it.
pub(crate) enum Lab {
    Sandbox(Box<SandboxHandle>),
    Node(Box<Node>),
}

/// Makes a test for each backend of each scenario, an `async fn(Lab)`.
macro_rules! on_each_backend {
    ($($scenario:ident),+ $(,)?) => {
        mod on_esplora {
            use crate::chain::lab::Lab;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(Lab::sandbox().await).await;
            })+
        }
        mod on_bitcoind {
            use crate::chain::lab::Lab;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                if let Some(lab) = Lab::node().await {
                    super::$scenario(lab).await;
                }
            })+
        }
    };
}
pub(crate) use on_each_backend;

impl Lab {
    pub(crate) async fn sandbox() -> Lab {
        let sandbox = Sandbox {
            auto_mine: AutoMine {
                on: false,
                delay: Duration::ZERO,
            },
            ..Sandbox::default()
        };
        Lab::Sandbox(Box::new(sandbox.start().await.unwrap()))
    }

    /// `None` when this machine has no bitcoind.
    pub(crate) async fn node() -> Option<Lab> {
        Node::start().await.map(Box::new).map(Lab::Node)
    }

    pub(crate) async fn connect(&self) -> ChainSource {
        let backend = match self {
            Lab::Sandbox(sandbox) => BackendConfig::Esplora {
                url: sandbox.esplora_url.clone(),
                socks5_proxy: None,
            },
            Lab::Node(node) => node.backend(node.cookie()),
        };
        connect(backend).await
    }

    /// The key that holds the lab's money.
    pub(crate) fn key(&self) -> &CoinKey {
        match self {
            Lab::Sandbox(sandbox) => sandbox.faucet.key(),
            Lab::Node(node) => &node.key,
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.key().address()
    }

    /// Makes a payment that waits in the mempool.
    pub(crate) async fn pay(&self, script: ScriptBuf, sats: u64) -> Txid {
        let amount = Amount::from_sat(sats);
        match self {
            Lab::Sandbox(sandbox) => sandbox.faucet.pay(script, amount, FEE_RATE).await.unwrap(),
            Lab::Node(node) => node.pay(script, amount).await,
        }
    }

    /// A fresh coin of the lab's key, not mined yet.
    pub(crate) async fn coin(&self, sats: u64) -> (OutPoint, TxOut) {
        let txid = self.pay(self.key().script(), sats).await;
        let outputs = self.transaction(txid).await.output;
        let vout = outputs.iter().position(|o| o.value.to_sat() == sats);
        let vout = vout.unwrap();
        let outpoint = OutPoint::new(txid, u32::try_from(vout).unwrap());
        (outpoint, outputs[vout].clone())
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        match self {
            Lab::Sandbox(sandbox) => {
                sandbox.chain.mine(blocks).await.unwrap();
            }
            Lab::Node(node) => node.mine(blocks).await,
        }
    }

    /// What waits for a block, in order of id.
    pub(crate) async fn mempool(&self) -> Vec<Txid> {
        let mut txids: Vec<Txid> = match self {
            Lab::Sandbox(sandbox) => sandbox.chain.mempool().await.unwrap(),
            Lab::Node(node) => node.call("getrawmempool", serde_json::json!([])).await,
        };
        txids.sort();
        txids
    }

    pub(crate) async fn transaction(&self, txid: Txid) -> Transaction {
        match self {
            Lab::Sandbox(sandbox) => sandbox.chain.tx(txid).await.unwrap().unwrap().tx,
            Lab::Node(node) => node.transaction(txid).await,
        }
    }

    /// Replaces the newest blocks by one more; their transactions are mined again.
    pub(crate) async fn reorg(&self, depth: u32) {
        match self {
            Lab::Sandbox(sandbox) => {
                sandbox.chain.reorg(depth, Reorg::Keep).await.unwrap();
            }
            Lab::Node(node) => {
                node.disconnect(depth).await;
                node.mine(depth + 1).await;
            }
        }
    }

    /// Replaces the newest block by two with a transaction that conflicts with one of it.
    pub(crate) async fn reorg_to(&self, conflict: Transaction) {
        match self {
            Lab::Sandbox(sandbox) => {
                let replaced = Reorg::Replace(vec![conflict]);
                sandbox.chain.reorg(1, replaced).await.unwrap();
                self.mine(1).await;
            }
            Lab::Node(node) => {
                node.disconnect(1).await;
                node.mine_only(&[conflict]).await;
                node.mine(1).await;
            }
        }
    }

    /// Another transaction that spends what `tx`, made by the lab, spends; it pays a little less to the lab.
    pub(crate) async fn conflict(&self, tx: &Transaction) -> Transaction {
        let mut spent = Vec::new();
        for input in &tx.input {
            let parent = self.transaction(input.previous_output.txid).await;
            let vout = usize::try_from(input.previous_output.vout).unwrap();
            spent.push(parent.output[vout].clone());
        }
        let mut conflict = tx.clone();
        conflict.output.truncate(1);
        conflict.output[0].script_pubkey = self.key().script();
        conflict.output[0].value -= Amount::from_sat(1_000);
        self.key().sign(conflict, &spent).unwrap()
    }
}

pub(crate) async fn connect(backend: BackendConfig) -> ChainSource {
    let config = ChainConfig {
        backend,
        fallback_fee_rate: FEE_RATE,
    };
    ChainSource::connect(&config, NETWORK).await.unwrap()
}
