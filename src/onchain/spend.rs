//! Paying from the on-chain wallet, and signing (spec/wallet.md §10).

use bitcoin::{Address, Amount, FeeRate, Psbt, Transaction, Txid, Witness};

use super::select::{Outputs, Plan};
use super::{Error, OnchainWallet};

/// The most inputs of a payment, which keeps it below the size that nodes relay.
const MAX_PAYMENT_INPUTS: usize = 1500;

impl OnchainWallet {
    /// Pays `amount` to `destination`; the fee comes on top.
    ///
    /// The payment stands once it is on disk: when the network does not take it at once, every sync tries again, and the
    /// failure is only logged.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`], [`Error::Dust`], [`Error::TooManyInputs`].
    pub async fn send(
        &self,
        destination: Address,
        amount: Amount,
        fee_rate: FeeRate,
    ) -> Result<Txid, Error> {
        self.send_many(&[(destination, amount)], fee_rate).await
    }

    /// Pays several recipients with one transaction, its outputs in the given order; otherwise like [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`Error::NoRecipients`].
    pub async fn send_many(
        &self,
        recipients: &[(Address, Amount)],
        fee_rate: FeeRate,
    ) -> Result<Txid, Error> {
        let recipients = recipients
            .iter()
            .map(|(address, amount)| (address.script_pubkey(), *amount))
            .collect();
        self.pay(Outputs::Pay(recipients), fee_rate).await
    }

    /// Sends all coins that are worth their fee, at most the 1500 largest, to `destination`; the fee comes out of them.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`].
    pub async fn drain(&self, destination: Address, fee_rate: FeeRate) -> Result<Txid, Error> {
        self.pay(Outputs::Drain(destination.script_pubkey()), fee_rate)
            .await
    }

    async fn pay(&self, outputs: Outputs, fee_rate: FeeRate) -> Result<Txid, Error> {
        let plan = Plan {
            outputs,
            fee_rate,
            max_inputs: MAX_PAYMENT_INPUTS,
        };
        let funding = self.prepare(plan).await?;
        let transaction = self.sign(funding.psbt().clone())?;
        let (wallet, recorded) = (self.clone(), transaction.clone());
        self.0
            .store
            .write(move |tx| {
                wallet.record(tx, &recorded, None)?;
                funding.used();
                Ok::<_, Error>(())
            })
            .await?;
        // The payment is on disk. A failure from here on must not look like a failed payment to the caller.
        let txid = transaction.compute_txid();
        if let Err(error) = self.catch_up().await {
            tracing::warn!(%txid, %error, "the balance does not show a new on-chain payment yet");
        }
        if let Err(error) = self.0.chain.broadcast_package(&[transaction]).await {
            tracing::warn!(%txid, %error, "an on-chain payment was not broadcast; the next sync tries again");
        }
        Ok(txid)
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
