//! Transactions on the chain.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Transaction, Txid};
use serde::Serialize;
use utoipa::ToSchema;

/// A transaction.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TransactionInfo {
    /// Its id.
    txid: String,
    /// The transaction, hex.
    tx: String,
}

impl From<&Transaction> for TransactionInfo {
    fn from(transaction: &Transaction) -> Self {
        Self {
            txid: transaction.compute_txid().to_string(),
            tx: serialize_hex(transaction),
        }
    }
}

/// An on-chain payment.
#[derive(Serialize, ToSchema)]
#[schema(as = Send)]
pub(in crate::http) struct OnchainPayment {
    /// The id of the transaction that pays.
    txid: String,
}

impl From<Txid> for OnchainPayment {
    fn from(txid: Txid) -> Self {
        Self {
            txid: txid.to_string(),
        }
    }
}
