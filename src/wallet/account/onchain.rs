//! On-chain balance, coins, transactions and payments.

use bitcoin::{Address, Amount, Txid};

use crate::chain::FeeRates;
use crate::model::Effect;
use crate::onchain::{self, OnchainBalance, OnchainTransaction, OnchainUtxo, PreparedPayment};
use crate::wallet::destination::read_bitcoin_address;
use crate::wallet::engine::request_key;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The largest number of payees of one transaction. With the largest number of inputs it stays below the size that nodes relay.
const MAX_PAYEES: usize = 250;

impl Wallet {
    /// A new on-chain address.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn next_onchain_address(&self) -> Result<Address> {
        Ok(self.onchain.next_address().await?)
    }

    /// The on-chain balance as of the last sync.
    pub fn onchain_balance(&self) -> OnchainBalance {
        self.onchain.balance()
    }

    /// The on-chain coins as of the last sync.
    pub fn onchain_utxos(&self) -> Vec<OnchainUtxo> {
        self.onchain.utxos()
    }

    /// The on-chain transactions as of the last sync, oldest first.
    pub fn onchain_transactions(&self) -> Vec<OnchainTransaction> {
        self.onchain.transactions()
    }

    /// Pays an on-chain address at the regular fee rate.
    ///
    /// # Errors
    /// `invalid_address`, `wrong_network`, `amount_too_small`, `insufficient_funds`, `too_many_inputs`; then nothing was paid.
    pub async fn onchain_send(&self, destination: &str, amount: Amount) -> Result<Txid> {
        let address = self.bitcoin_address(destination)?;
        let fee_rate = self.chain.fee_rates().regular;
        let recipients = [(address, amount)];
        let payment = self.onchain.prepare_payment(&recipients, fee_rate);
        self.pay_onchain(payment.await?).await
    }

    /// Pays several on-chain addresses with one transaction at the regular fee rate. Its outputs keep the given order.
    ///
    /// # Errors
    /// As [`onchain_send`](Self::onchain_send), and `no_recipients`, `too_many_recipients`, `invalid_amount`; then nothing was
    /// paid.
    pub async fn onchain_send_many(&self, payees: &[(String, Amount)]) -> Result<Txid> {
        if payees.len() > MAX_PAYEES {
            let message =
                format!("one transaction pays at most {MAX_PAYEES} addresses; send several");
            return Err(Error::bad_request("too_many_recipients", message));
        }
        let mut total = Amount::ZERO;
        let mut recipients = Vec::with_capacity(payees.len());
        for (destination, amount) in payees {
            total = total
                .checked_add(*amount)
                .filter(|total| *total <= Amount::MAX_MONEY)
                .ok_or_else(|| {
                    Error::bad_request("invalid_amount", "the amounts exceed 21 million bitcoin")
                })?;
            recipients.push((self.bitcoin_address(destination)?, *amount));
        }
        let fee_rate = self.chain.fee_rates().regular;
        let payment = self.onchain.prepare_payment(&recipients, fee_rate);
        self.pay_onchain(payment.await?).await
    }

    /// Sends all on-chain coins that are worth more than the fee to spend them to an address, at the regular fee rate.
    ///
    /// # Errors
    /// As [`onchain_send`](Self::onchain_send); then nothing was paid.
    pub async fn onchain_drain(&self, destination: &str) -> Result<Txid> {
        let address = self.bitcoin_address(destination)?;
        let fee_rate = self.chain.fee_rates().regular;
        let payment = self.onchain.prepare_drain(address, fee_rate);
        self.pay_onchain(payment.await?).await
    }

    /// Commits a payment, then broadcasts it. From the commit on it is valid, even if the broadcast fails.
    async fn pay_onchain(&self, payment: PreparedPayment) -> Result<Txid> {
        let transaction = payment.transaction().clone();
        let key = request_key::current();
        let effect = Effect::OnchainPayment(transaction.compute_txid());
        self.commit(CommitPoint::OnchainPaid, move |tx| {
            payment.record(tx)?;
            request_key::bind(tx, key.as_ref(), &effect)
        })
        .await?;
        Ok(self.onchain.publish_payment(transaction).await)
    }

    /// The last fee rate estimates; the configured fallback before the first one.
    pub fn onchain_fee_rates(&self) -> FeeRates {
        self.chain.fee_rates()
    }

    /// Updates the on-chain wallet from the chain backend.
    ///
    /// # Errors
    /// `chain_unavailable`.
    pub async fn sync_onchain(&self) -> Result<()> {
        Ok(self.onchain.sync().await?)
    }

    /// Parses a bitcoin address of the wallet's network.
    ///
    /// # Errors
    /// `invalid_address`, `wrong_network`.
    pub(in crate::wallet) fn bitcoin_address(&self, text: &str) -> Result<Address> {
        read_bitcoin_address(text, self.network)
    }
}

impl From<onchain::Error> for Error {
    fn from(error: onchain::Error) -> Error {
        let message = error.to_string();
        match error {
            onchain::Error::InsufficientFunds { .. } => {
                Error::bad_request("insufficient_funds", message)
            }
            onchain::Error::Dust { .. } => Error::bad_request("amount_too_small", message),
            onchain::Error::NoRecipients => Error::bad_request("no_recipients", message),
            onchain::Error::TooManyInputs { .. } => Error::bad_request("too_many_inputs", message),
            onchain::Error::Chain(error) => error.into(),
            onchain::Error::Store(error) => error.into(),
            error @ (onchain::Error::Transaction(_) | onchain::Error::Mismatch(_)) => {
                Error::internal(error)
            }
        }
    }
}
