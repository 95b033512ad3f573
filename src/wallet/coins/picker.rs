//! Input selection, one candidate at a time (docs/protocol.md §6.1).

use std::cmp::Reverse;
use std::sync::Arc;

use bitcoin::Amount;

use crate::model::VtxoRecord;
use crate::wallet::{Error, Result};

/// The VTXOs that are selected so far.
pub(super) struct Picker<N> {
    max_inputs: usize,
    /// The amount to pay and the fee for a given selection; `None` if they overflow.
    need: N,
    picked: Vec<Arc<VtxoRecord>>,
    /// The value of `picked`.
    sum: Amount,
    /// The value of all candidates so far.
    available: Amount,
    /// The result of `need` when it was last computed. `need` grows with the selection, so it is computed again only once
    /// `sum` reaches the last result.
    needed: Option<Amount>,
}

impl<N: Fn(&[Arc<VtxoRecord>]) -> Option<Amount>> Picker<N> {
    pub(super) fn new(max_inputs: usize, need: N) -> Picker<N> {
        Picker {
            max_inputs,
            needed: need(&[]),
            need,
            picked: Vec::new(),
            sum: Amount::ZERO,
            available: Amount::ZERO,
        }
    }

    /// Takes the next candidate or leaves it. Returns whether more candidates are needed.
    pub(super) fn offer(&mut self, candidate: Arc<VtxoRecord>) -> bool {
        self.available = add(self.available, candidate.amount);
        if self.picked.len() >= self.max_inputs {
            let Some(dropped) = replace_smallest(&mut self.picked, &candidate) else {
                return self.needed.is_some();
            };
            // `dropped` is a part of the sum and smaller than what takes its place.
            self.sum = add(self.sum - dropped, candidate.amount);
        } else {
            self.sum = add(self.sum, candidate.amount);
            self.picked.push(candidate);
        }
        if self.needed.is_some_and(|needed| self.sum >= needed) {
            self.needed = (self.need)(&self.picked);
        }
        self.needed.is_some_and(|needed| self.sum < needed)
    }

    /// The selection, and what it needs to pay.
    pub(super) fn finish(self) -> Result<(Vec<Arc<VtxoRecord>>, Amount)> {
        let Some(needed) = self.needed else {
            let message = "the amount and its fee exceed all bitcoin; pay less";
            return Err(Error::bad_request("amount_too_large", message));
        };
        if self.sum >= needed {
            return Ok((self.picked, needed));
        }
        if self.available >= needed {
            let message = format!(
                "the payment needs {} sat, fee included, which is more than the {} largest VTXOs are worth; refresh first, or pay in several parts",
                needed.to_sat(),
                self.max_inputs
            );
            return Err(Error::bad_request("too_many_inputs", message));
        }
        let message = format!(
            "the payment needs {} sat, fee included, but only {} sat can be spent now; wait for pending coins, board more, or refresh",
            needed.to_sat(),
            self.available.to_sat()
        );
        Err(Error::bad_request("insufficient_funds", message))
    }
}

/// Replaces the smallest VTXO, among equals the one that expires last, by the candidate if that is larger. Returns the value
/// of the replaced VTXO; `None` if the candidate is not larger.
fn replace_smallest(
    picked: &mut Vec<Arc<VtxoRecord>>,
    candidate: &Arc<VtxoRecord>,
) -> Option<Amount> {
    let (place, smallest) = picked
        .iter()
        .enumerate()
        .min_by_key(|(_, vtxo)| (vtxo.amount, Reverse(vtxo.expiry_height)))?;
    let dropped = smallest.amount;
    if dropped >= candidate.amount {
        return None;
    }
    picked.remove(place);
    picked.push(Arc::clone(candidate));
    Some(dropped)
}

/// The sum; all bitcoin fit an amount, so it never saturates.
fn add(sum: Amount, amount: Amount) -> Amount {
    sum.checked_add(amount).unwrap_or(Amount::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::coins::testing::vtxo;
    use bitcoin_ext::BlockHeight;
    use proptest::prelude::*;

    const TIP: BlockHeight = BlockHeight::new(100);

    fn total(vtxos: &[Arc<VtxoRecord>]) -> Amount {
        vtxos.iter().map(|vtxo| vtxo.amount).sum()
    }

    proptest! {
        /// The selection pays the amount and the fee that is charged for exactly this selection.
        #[test]
        fn the_selection_pays_its_own_fee(
            vtxos in prop::collection::vec((1..100_000u64, 101..5_000u32), 0..30),
            amount in 1..500_000u64,
            max_inputs in 1..12usize,
        ) {
            let amount = Amount::from_sat(amount);
            let fees = arkwalletd_sandbox::ark::charging_fees().lightning_send;
            let fee = |picked: &[Arc<VtxoRecord>]| {
                let infos = picked.iter().map(|vtxo| vtxo.fee_info(TIP));
                fees.calculate(amount, infos).unwrap()
            };
            let mut offered: Vec<_> = vtxos
                .iter()
                .enumerate()
                .map(|(number, (amount, expiry))| vtxo(number, *amount, *expiry, 1))
                .collect();
            offered.sort_by_key(|vtxo| vtxo.expiry_height);
            let mut picker = Picker::new(max_inputs, |picked| amount.checked_add(fee(picked)));
            for candidate in offered.iter().cloned() {
                if !picker.offer(candidate) {
                    break;
                }
            }
            match picker.finish() {
                Ok((picked, needed)) => {
                    prop_assert!(picked.len() <= max_inputs);
                    prop_assert_eq!(needed, amount + fee(&picked));
                    prop_assert!(total(&picked) >= needed);
                }
                Err(error) if error.code() == "insufficient_funds" => {
                    prop_assert!(total(&offered) < amount + fee(&offered));
                }
                Err(error) => {
                    prop_assert_eq!(error.code(), "too_many_inputs");
                    prop_assert!(offered.len() > max_inputs);
                }
            }
        }
    }
}
