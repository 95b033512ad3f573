//! Transactions on the chain.

use bitcoin::Transaction;
use bitcoin::consensus::encode::serialize_hex;
use serde::Serialize;
use utoipa::ToSchema;

/// A transaction.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct TransactionInfo {
    /// Its id.
    txid: String,
    /// All of it, hex.
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
