//! Publishing: transactions of an exit pay no fee, so a child pays for each of them.

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use super::world::World;

/// What the child pays, in sat.
const FEE: Amount = Amount::from_sat(5_000);

impl World {
    /// Broadcasts transactions, parents first.
    pub async fn submit(&self, txs: Vec<Transaction>) {
        let chain = &self.sandbox.chain;
        for tx in txs {
            let txid = tx.compute_txid();
            let sent = chain.submit(tx).await.expect("the chain answers");
            sent.unwrap_or_else(|refusal| panic!("{txid} is refused: {refusal:?}"));
        }
    }

    /// Puts the first `levels` transactions of a VTXO's exit chain into blocks of their own.
    pub async fn publish(&self, vtxo: &Vtxo<Full>, levels: usize) {
        for item in vtxo.transactions().take(levels) {
            let known = self.sandbox.chain.tx(item.tx.compute_txid()).await;
            if known.expect("the chain answers").is_none() {
                self.publish_unconfirmed(item.tx).await;
                self.mine(1).await;
            }
        }
    }

    /// Puts a VTXO on chain.
    pub async fn exit(&self, vtxo: &Vtxo<Full>) {
        self.publish(vtxo, usize::MAX).await;
    }

    /// Broadcasts a transaction of an exit with a child of the faucet that spends its anchor.
    pub async fn publish_unconfirmed(&self, tx: Transaction) {
        let anchor = OutPoint::new(
            tx.compute_txid(),
            u32::try_from(tx.output.len() - 1).expect("few outputs"),
        );
        let anchor_output = tx.output.last().expect("an anchor").clone();
        let faucet = &self.sandbox.faucet;
        let chain = &self.sandbox.chain;
        let script = faucet.key().script();
        let tip = self.height().await;
        let coins = chain.unspent(&script).await.expect("the chain answers");
        let coin = coins
            .into_iter()
            .filter(|coin| {
                let ripe = |height| !coin.coinbase || tip >= height + 100;
                coin.height.is_some_and(ripe)
            })
            .max_by_key(|coin| coin.output.value)
            .expect("the faucet has coins");
        let spend = |previous_output| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        let child = Transaction {
            version: Version(3),
            lock_time: LockTime::ZERO,
            input: vec![spend(anchor), spend(coin.outpoint)],
            output: vec![TxOut {
                value: coin.output.value - FEE,
                script_pubkey: script,
            }],
        };
        let spent = [anchor_output, coin.output];
        let child = faucet.key().sign(child, &spent).expect("its own coin");
        let sent = chain.submit_package(vec![tx, child]).await;
        let outcome = sent.expect("the chain answers");
        assert!(outcome.is_success(), "{outcome:?}");
    }
}
