//! Children that pay for transactions of exits.

use bitcoin::{Amount, FeeRate, Transaction};

use super::{Error, OnchainWallet};
use crate::store::WriteTx;

/// What a child pays.
#[derive(Clone, Debug)]
pub struct ChildFee {
    /// The fee rate of parent and child together.
    pub rate: FeeRate,
    /// The child of the same parent that it replaces.
    pub replaces: Option<ReplacedChild>,
}

/// A child that is replaced.
#[derive(Clone, Debug)]
pub struct ReplacedChild {
    /// The child.
    pub transaction: Transaction,
    /// What it pays.
    pub fee: Amount,
}

/// A signed child that is not stored yet.
pub struct PreparedChild {
    transaction: Transaction,
    fee: Amount,
}

impl PreparedChild {
    /// The signed child.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// What it pays.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// Holds its coins.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn hold(self, _tx: &mut WriteTx<'_>, _holder: &str) -> Result<(), Error> {
        Ok(())
    }
}

impl OnchainWallet {
    /// Prepares a child that pays for `parent`.
    ///
    /// # Errors
    /// [`Error::InsufficientFunds`].
    #[allow(clippy::unused_async)]
    pub async fn prepare_child(
        &self,
        _parent: &Transaction,
        _fee: &ChildFee,
    ) -> Result<PreparedChild, Error> {
        Err(Error::Transaction("not built".into()))
    }
}
