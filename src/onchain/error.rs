//! The errors of the on-chain wallet.

use bitcoin::Amount;

use crate::{chain, store};

/// A failure of the on-chain wallet. Nothing was spent, unless the method says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spendable coins do not cover the payment and its fee.
    #[error("insufficient on-chain funds: {needed} needed, {available} available")]
    InsufficientFunds {
        /// The amount of the payment plus its fee.
        needed: Amount,
        /// The coins that are confirmed or our own change, and that no operation holds.
        available: Amount,
    },
    /// The amount is below the dust limit, so nodes would not relay the transaction.
    #[error("{amount} is below the smallest amount that this destination can receive, {minimum}")]
    Dust {
        /// The requested amount.
        amount: Amount,
        /// The dust limit of the destination's script.
        minimum: Amount,
    },
    /// The list of recipients is empty.
    #[error("a payment needs at least one recipient")]
    NoRecipients,
    /// The payment would spend more coins than one transaction may.
    #[error(
        "the payment needs more than {limit} coins; send a smaller amount to an address of this wallet first to merge coins"
    )]
    TooManyInputs {
        /// The most inputs of one transaction.
        limit: usize,
    },
    /// A transaction cannot be built or signed.
    #[error("the transaction cannot be built: {0}")]
    Transaction(String),
    /// The database has the on-chain wallet of another seed or network.
    #[error("the stored on-chain wallet belongs to another seed or network: {0}")]
    Mismatch(String),
    /// The chain backend failed.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
