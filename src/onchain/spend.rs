//! Payments from the on-chain wallet, and signing (docs/protocol.md §10).
//!
//! A payment is built and signed first, then recorded by the caller, and only then broadcast: it is final once it is on disk. If
//! the broadcast fails, each sync retries it.

use bitcoin::{Address, Amount, FeeRate, Psbt, Transaction, Txid, Witness};

use super::select::{Coins, Outputs, Plan};
use super::{Error, Funding, OnchainWallet};
use crate::store::WriteTx;

/// The most inputs of a payment. It keeps the transaction below the size that nodes relay.
const MAX_PAYMENT_INPUTS: usize = 1500;

/// A signed payment that is not recorded yet. No other transaction can select its coins until it is dropped.
pub struct PreparedPayment {
    wallet: OnchainWallet,
    funding: Funding,
    transaction: Transaction,
}

impl PreparedPayment {
    /// The signed transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Records the payment, which is final with the commit of `tx`. If `tx` is rolled back, the coins are free again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn record(self, tx: &mut WriteTx<'_>) -> Result<(), Error> {
        self.wallet.record(tx, &self.transaction, None)?;
        self.funding.keep_change_index();
        Ok(())
    }
}

impl OnchainWallet {
    /// Prepares a transaction that pays `recipients`, in this order. The wallet pays the fee in addition.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], [`Error::Dust`], [`Error::TooManyInputs`], [`Error::NoRecipients`].
    pub async fn prepare_payment(
        &self,
        recipients: &[(Address, Amount)],
        fee_rate: FeeRate,
    ) -> Result<PreparedPayment, Error> {
        let recipients = recipients
            .iter()
            .map(|(address, amount)| (address.script_pubkey(), *amount))
            .collect();
        self.prepare_signed(Outputs::Pay(recipients), Coins::Any, fee_rate)
            .await
    }

    /// Prepares a transaction that splits the largest confirmed coin that nobody holds: `count` coins of `amount`, and the rest.
    /// All but the rest pay to one address of the wallet.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], [`Error::Dust`].
    pub async fn prepare_split(
        &self,
        count: usize,
        amount: Amount,
        fee_rate: FeeRate,
    ) -> Result<PreparedPayment, Error> {
        let script = self.next_address().await?.script_pubkey();
        let outputs = Outputs::Pay(vec![(script, amount); count]);
        self.prepare_signed(outputs, Coins::LargestConfirmed, fee_rate)
            .await
    }

    /// Prepares a transaction that sends to `destination` all coins that are worth more than the fee for spending them, at most
    /// the 1500 largest. The fee is subtracted.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`].
    pub async fn prepare_drain(
        &self,
        destination: Address,
        fee_rate: FeeRate,
    ) -> Result<PreparedPayment, Error> {
        let outputs = Outputs::Drain(destination.script_pubkey());
        self.prepare_signed(outputs, Coins::Any, fee_rate).await
    }

    async fn prepare_signed(
        &self,
        outputs: Outputs,
        coins: Coins,
        fee_rate: FeeRate,
    ) -> Result<PreparedPayment, Error> {
        let plan = Plan {
            outputs,
            fee_rate,
            max_inputs: MAX_PAYMENT_INPUTS,
            coins,
        };
        let funding = self.prepare(plan).await?;
        let transaction = self.sign(funding.psbt().clone())?;
        Ok(PreparedPayment {
            wallet: self.clone(),
            funding,
            transaction,
        })
    }

    /// Includes a recorded payment in the balance and broadcasts it. Failures are only logged, because the payment is final and
    /// the caller must not report it as failed.
    pub async fn publish_payment(&self, transaction: Transaction) -> Txid {
        let txid = transaction.compute_txid();
        if let Err(error) = self.catch_up().await {
            tracing::warn!(%txid, %error, "on-chain payment not included in the balance yet");
        }
        if let Err(error) = self.0.chain.broadcast_package(&[transaction]).await {
            tracing::warn!(%txid, %error, "broadcast of an on-chain payment failed; the next sync retries");
        }
        txid
    }

    /// Signs the inputs that have no final witness yet. Records nothing.
    ///
    /// # Errors
    /// [`Error::Transaction`] when such an input is not ours.
    pub fn sign(&self, mut psbt: Psbt) -> Result<Transaction, Error> {
        if let Err((_, mut errors)) = psbt.sign(&self.0.root, &self.0.secp) {
            let is_final = |index: usize| {
                let input = psbt.inputs.get(index);
                input.is_some_and(|input| input.final_script_witness.is_some())
            };
            errors.retain(|index, _| !is_final(*index));
            if !errors.is_empty() {
                return Err(Error::Transaction(format!("signing failed: {errors:?}")));
            }
        }
        let mut transaction = psbt.unsigned_tx;
        for (input, signed) in transaction.input.iter_mut().zip(&psbt.inputs) {
            if let Some(witness) = &signed.final_script_witness {
                input.witness = witness.clone();
                continue;
            }
            let signature = signed.tap_key_sig.ok_or_else(|| {
                Error::Transaction(format!(
                    "{} is not a coin of this wallet",
                    input.previous_output
                ))
            })?;
            input.witness = Witness::p2tr_key_spend(&signature);
        }
        Ok(transaction)
    }
}
