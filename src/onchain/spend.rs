//! Paying from the on-chain wallet, and signing (docs/protocol.md §10).
//!
//! A payment is picked and signed first, then written by the caller, and only then handed to the network: it stands once it
//! is on disk. When the network does not take it at once, every sync tries again.

use bitcoin::{Address, Amount, FeeRate, Psbt, Transaction, Txid, Witness};

use super::select::{Outputs, Plan};
use super::{Error, Funding, OnchainWallet};
use crate::store::WriteTx;

/// The most inputs of a payment, which keeps it below the size that nodes relay.
const MAX_PAYMENT_INPUTS: usize = 1500;

/// A signed payment whose coins nobody else can pick. Dropping it lets go of them.
pub struct Payment {
    wallet: OnchainWallet,
    funding: Funding,
    transaction: Transaction,
}

impl Payment {
    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Records the payment: it stands once `tx` is committed. When `tx` is undone, the coins are free again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn record(self, tx: &mut WriteTx<'_>) -> Result<(), Error> {
        self.wallet.record(tx, &self.transaction, None)?;
        self.funding.used();
        Ok(())
    }
}

impl OnchainWallet {
    /// Prepares a transaction that pays these recipients, its outputs in the given order; the fee comes on top.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], [`Error::Dust`], [`Error::TooManyInputs`], [`Error::NoRecipients`].
    pub async fn prepare_payment(
        &self,
        recipients: &[(Address, Amount)],
        fee_rate: FeeRate,
    ) -> Result<Payment, Error> {
        let recipients = recipients
            .iter()
            .map(|(address, amount)| (address.script_pubkey(), *amount))
            .collect();
        self.prepare_signed(Outputs::Pay(recipients), fee_rate)
            .await
    }

    /// Prepares a transaction that sends all coins that are worth their fee, at most the 1500 largest, to `destination`; the
    /// fee comes out of them.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`].
    pub async fn prepare_drain(
        &self,
        destination: Address,
        fee_rate: FeeRate,
    ) -> Result<Payment, Error> {
        self.prepare_signed(Outputs::Drain(destination.script_pubkey()), fee_rate)
            .await
    }

    async fn prepare_signed(&self, outputs: Outputs, fee_rate: FeeRate) -> Result<Payment, Error> {
        let plan = Plan {
            outputs,
            fee_rate,
            max_inputs: MAX_PAYMENT_INPUTS,
        };
        let funding = self.prepare(plan).await?;
        let transaction = self.sign(funding.psbt().clone())?;
        Ok(Payment {
            wallet: self.clone(),
            funding,
            transaction,
        })
    }

    /// Shows a recorded payment in the balance and hands it to the network. A failure is only logged: the payment stands, and
    /// must not look failed to whoever made it.
    pub async fn publish_payment(&self, transaction: Transaction) -> Txid {
        let txid = transaction.compute_txid();
        if let Err(error) = self.catch_up().await {
            tracing::warn!(%txid, %error, "the balance does not show a new on-chain payment yet");
        }
        if let Err(error) = self.0.chain.broadcast_package(&[transaction]).await {
            tracing::warn!(%txid, %error, "an on-chain payment was not broadcast; the next sync tries again");
        }
        txid
    }

    /// Signs every input of a transaction of ours. Records nothing.
    ///
    /// # Errors
    /// [`Error::Transaction`] when an input is not ours.
    pub fn sign(&self, mut psbt: Psbt) -> Result<Transaction, Error> {
        psbt.sign(&self.0.root, &self.0.secp)
            .map_err(|(_, errors)| Error::Transaction(format!("signing failed: {errors:?}")))?;
        let mut transaction = psbt.unsigned_tx;
        for (input, signed) in transaction.input.iter_mut().zip(&psbt.inputs) {
            let signature = signed.tap_key_sig.ok_or_else(|| {
                Error::Transaction(format!("{} is not our coin", input.previous_output))
            })?;
            input.witness = Witness::p2tr_key_spend(&signature);
        }
        Ok(transaction)
    }
}
