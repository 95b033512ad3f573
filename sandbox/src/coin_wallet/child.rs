//! Children that pay for a parent of version 3, which pays no fee of its own.

use anyhow::{Context, ensure};
use bitcoin::{
    Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute, transaction,
};

use super::{CoinWallet, SIGNATURE_LEN};
use crate::chain::{Reject, RejectKind};

/// Smallest coin that is used up for a child.
const LEAST_COIN: Amount = Amount::from_sat(10_000);

impl CoinWallet {
    /// Broadcasts `parent` together with a child that spends its anchor and one confirmed coin, so that both pay this rate. Fails
    /// without a coin of 10 000 sat or more.
    pub async fn submit_with_child(
        &self,
        parent: Transaction,
        fee_rate: FeeRate,
    ) -> anyhow::Result<Result<Txid, Reject>> {
        // Held until the package is in the mempool: nobody else may spend the coin meanwhile.
        let locks = self.locks.lock().await;
        let confirmed = self
            .spendable(&locks)
            .await?
            .into_iter()
            .filter(|coin| coin.height.is_some() && coin.output.value >= LEAST_COIN);
        let coin = confirmed
            .min_by_key(|coin| coin.output.value)
            .context("no confirmed coin to pay the fee of a package with")?;
        let txid = parent.compute_txid();
        let (vout, anchor) = (0..)
            .zip(&parent.output)
            .find(|(_, output)| output.script_pubkey == ScriptBuf::new_p2a())
            .context("the transaction has no anchor")?;
        let paid_in = anchor.value + coin.output.value;
        let spend = |previous_output, witness| TxIn {
            previous_output,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness,
        };
        let mut child = Transaction {
            version: transaction::Version(3),
            lock_time: absolute::LockTime::ZERO,
            input: vec![
                spend(OutPoint::new(txid, vout), Witness::new()),
                spend(coin.outpoint, Witness::from_slice(&[[0; SIGNATURE_LEN]])),
            ],
            output: vec![TxOut {
                value: paid_in,
                script_pubkey: self.key.script(),
            }],
        };
        let vsize = parent.vsize() + child.vsize();
        let fee = fee_rate
            .fee_vb(vsize as u64)
            .context("fee rate out of range")?;
        let change = paid_in.checked_sub(fee).unwrap_or_default();
        ensure!(
            change >= self.key.script().minimal_non_dust(),
            "a coin of {} does not pay a fee of {fee}",
            coin.output.value
        );
        child.output[0].value = change;
        child.input[1].witness.clear();
        let child = self.key.sign(child, &[anchor.clone(), coin.output])?;
        let outcome = self.chain.submit_package(vec![parent, child]).await?;
        if outcome.is_success() {
            return Ok(Ok(txid));
        }
        let mut results = outcome.results.into_iter();
        let refused = results.find_map(|result| result.result.err());
        Ok(Err(refused.unwrap_or(Reject {
            kind: RejectKind::Invalid,
            reason: outcome.message,
        })))
    }
}
