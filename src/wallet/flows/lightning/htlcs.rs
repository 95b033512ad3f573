//! Whether HTLCs of payments in either direction are exited by themselves (H22).

use ark_lib::VtxoId;
use bitcoin::Amount;

use crate::wallet::{Result, Wallet};

impl Wallet {
    /// Whether these HTLCs are exited when they are about to be lost: the operator allows it, and each is worth at least twice what the
    /// transactions of its exit cost.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn exits_htlcs(&self, htlcs: &[VtxoId]) -> Result<bool> {
        if !self.settings.lightning_auto_exit {
            return Ok(false);
        }
        let rate = self.chain.fee_rates().fast;
        let records = self.records(htlcs.to_vec()).await?;
        let is_worth_it = |amount: Amount, fee: Option<Amount>| {
            let doubled = fee.and_then(|fee| fee.checked_mul(2));
            doubled.is_some_and(|doubled| amount >= doubled)
        };
        Ok(records
            .iter()
            .all(|it| is_worth_it(it.amount, rate.checked_mul_by_weight(it.exit_tx_weight))))
    }
}
