//! What a backend says of a transaction.

use bitcoin::{BlockHash, Txid};
use bitcoin_ext::BlockHeight;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// The backend does not know it.
    NotFound,
    /// It is in the backend's mempool.
    Mempool,
    /// It is in the best chain.
    Confirmed {
        /// The block's height.
        height: BlockHeight,
        /// The block's hash.
        hash: BlockHash,
    },
}

impl TxStatus {
    /// Whether it is in the best chain.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, TxStatus::Confirmed { .. })
    }
}

/// The transaction that spends an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The id of the spending transaction.
    pub txid: Txid,
    /// Where the spending transaction is.
    pub status: TxStatus,
}
