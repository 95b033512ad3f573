//! What can go wrong in the on-chain wallet.

use bitcoin::Amount;

use crate::{chain, store};

/// A failure of the on-chain wallet. Nothing was spent, unless a method says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The coins that may be spent do not suffice.
    #[error("insufficient on-chain funds: {needed} needed, {available} available")]
    InsufficientFunds {
        /// The payment with its fee.
        needed: Amount,
        /// What is confirmed or our own change, and held by no operation.
        available: Amount,
    },
    /// Nodes do not relay an output this small.
    #[error("{amount} is below the smallest amount that this destination can receive, {minimum}")]
    Dust {
        /// The amount asked for.
        amount: Amount,
        /// The dust limit of the destination's script.
        minimum: Amount,
    },
    /// A payment to nobody.
    #[error("a payment needs at least one recipient")]
    NoRecipients,
    /// The amount is spread over too many coins.
    #[error(
        "no {limit} coins make up the amount; send some to an own address first, which joins them"
    )]
    TooManyInputs {
        /// The most coins that one transaction may spend.
        limit: usize,
    },
    /// A transaction cannot be built or signed.
    #[error("the transaction cannot be made: {0}")]
    Transaction(String),
    /// The database holds another seed's or another network's on-chain wallet.
    #[error("the stored on-chain wallet does not fit: {0}")]
    Mismatch(String),
    /// The chain backend failed.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}
