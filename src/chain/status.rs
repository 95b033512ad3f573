//! What a backend says of a transaction.

use bitcoin::{Amount, BlockHash, FeeRate, Txid};
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

/// A transaction in the mempool with its unconfirmed ancestors, each counted once (W25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolPackage {
    /// What all of them pay.
    pub fee: Amount,
    /// The sum of their virtual sizes, in vB.
    pub vsize: u64,
}

impl MempoolPackage {
    /// Whether the package pays this rate.
    pub fn pays(&self, rate: FeeRate) -> bool {
        rate.fee_vb(self.vsize).is_some_and(|fee| self.fee >= fee)
    }
}
