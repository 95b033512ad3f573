//! A regtest chain that mines only when asked, with coins to pay from: simulated, or on a real bitcoind. Tests of a chain source
//! run the same scenarios on both.

use std::time::Duration;

use bitcoin::{Address, Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use super::Bitcoind;
use crate::chain::{AutoMine, Reorg};
use crate::coin_wallet::CoinKey;
use crate::{Sandbox, SandboxHandle};

/// Fee rate of the fixture's own payments: 2 sat/vB.
const FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

/// A sandbox that mines only when asked, and the node below it if it runs on one. It starts with 120 blocks.
pub struct Regtest {
    /// The sandbox.
    pub sandbox: SandboxHandle,
    /// The node that holds the chain; `None` if the chain is simulated.
    pub node: Option<Bitcoind>,
}

impl Regtest {
    /// Starts a simulated chain.
    pub async fn simulated() -> Regtest {
        Regtest::start(None).await
    }

    /// Starts a real node and a sandbox on it.
    ///
    /// # Panics
    /// As [`Bitcoind::start`].
    pub async fn on_bitcoind() -> Regtest {
        Regtest::start(Some(Bitcoind::start())).await
    }

    async fn start(node: Option<Bitcoind>) -> Regtest {
        let sandbox = Sandbox {
            bitcoind: node.as_ref().map(Bitcoind::config),
            auto_mine: AutoMine {
                on: false,
                delay: Duration::ZERO,
            },
            ..Sandbox::default()
        };
        let sandbox = sandbox.start().await.expect("the sandbox starts");
        Regtest { sandbox, node }
    }

    /// The key that owns the fixture's coins.
    pub fn key(&self) -> &CoinKey {
        self.sandbox.faucet.key()
    }

    /// The address of [`Regtest::key`].
    pub fn address(&self) -> Address {
        self.key().address()
    }

    /// Broadcasts a payment of `sats` to a script; it waits in the mempool.
    pub async fn pay(&self, script: ScriptBuf, sats: u64) -> Txid {
        let amount = Amount::from_sat(sats);
        let paid = self.sandbox.faucet.pay(script, amount, FEE_RATE).await;
        paid.expect("the faucet has coins, and the chain accepts its payment")
    }

    /// Creates a coin of [`Regtest::key`] that is worth `sats`; its transaction waits in the mempool.
    pub async fn coin(&self, sats: u64) -> (OutPoint, TxOut) {
        let txid = self.pay(self.key().script(), sats).await;
        let outputs = self.transaction(txid).await.output;
        let mut numbered = (0..).zip(outputs);
        let found = numbered.find(|(_, output)| output.value.to_sat() == sats);
        let (vout, output) = found.expect("a payment has an output with its amount");
        (OutPoint::new(txid, vout), output)
    }

    /// Mines blocks with what waits in the mempool.
    pub async fn mine(&self, blocks: u32) {
        let mined = self.sandbox.chain.mine(blocks).await;
        mined.expect("the chain mines");
    }

    /// The ids of the transactions in the mempool, sorted.
    pub async fn mempool(&self) -> Vec<Txid> {
        let mut txids = self
            .sandbox
            .chain
            .mempool()
            .await
            .expect("the chain answers");
        txids.sort();
        txids
    }

    /// A transaction of the chain or the mempool.
    pub async fn transaction(&self, txid: Txid) -> Transaction {
        let found = self
            .sandbox
            .chain
            .tx(txid)
            .await
            .expect("the chain answers");
        found.expect("the transaction is known").tx
    }

    /// Replaces the newest `depth` blocks by one more; their transactions are mined again.
    pub async fn reorg(&self, depth: u32) {
        let done = self.sandbox.chain.reorg(depth, Reorg::Keep).await;
        done.expect("the chain is reorganised");
    }

    /// Replaces the newest block by others that hold `conflict` in place of the transactions that it conflicts with.
    pub async fn reorg_to(&self, conflict: Transaction) {
        let replaced = Reorg::Replace(vec![conflict]);
        let done = self.sandbox.chain.reorg(1, replaced).await;
        done.expect("the chain is reorganised");
        self.mine(1).await;
    }

    /// A transaction that spends what a payment of the fixture spends, and pays 1000 sat less than its first output to
    /// [`Regtest::key`].
    pub async fn conflict(&self, payment: &Transaction) -> Transaction {
        let mut spent = Vec::new();
        for input in &payment.input {
            let parent = self.transaction(input.previous_output.txid).await;
            spent.push(parent.output[input.previous_output.vout as usize].clone());
        }
        let mut conflict = payment.clone();
        conflict.output.truncate(1);
        conflict.output[0].script_pubkey = self.key().script();
        conflict.output[0].value -= Amount::from_sat(1_000);
        let signed = self.key().sign(conflict, &spent);
        signed.expect("the fixture owns the coins that it spent")
    }
}
