//! Input selection, one candidate at a time (docs/protocol.md §6.1).

use std::cmp::Reverse;
use std::sync::Arc;

use bitcoin::Amount;

use super::select::Limits;
use crate::model::VtxoRecord;
use crate::wallet::{Error, Result};

/// The VTXOs that are selected so far.
pub(super) struct Picker<N> {
    limits: Limits,
    max_inputs: usize,
    /// The amount to pay and the fee for a given selection; `None` if they overflow.
    need: N,
    picked: Vec<Arc<VtxoRecord>>,
    /// The value of `picked`.
    sum: Amount,
    /// The value of all candidates that are within the limits.
    available: Amount,
    /// The result of `need` when it was last computed. `need` grows with the selection, so it is computed again only once
    /// `sum` reaches the last result.
    needed: Option<Amount>,
}

impl<N: Fn(&[Arc<VtxoRecord>]) -> Option<Amount>> Picker<N> {
    pub(super) fn new(limits: Limits, max_inputs: usize, need: N) -> Picker<N> {
        Picker {
            limits,
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
        if !self.limits.allow(&candidate) {
            return self.needed.is_some();
        }
        self.available = self
            .available
            .checked_add(candidate.amount)
            .unwrap_or(Amount::MAX);
        if self.picked.len() < self.max_inputs {
            self.picked.push(candidate);
        } else if !replace_smallest(&mut self.picked, candidate) {
            return self.needed.is_some();
        }
        self.sum = total(&self.picked);
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

/// Replaces the smallest VTXO, among equals the one that expires last, by the candidate if that is larger. Returns whether
/// it did.
fn replace_smallest(picked: &mut Vec<Arc<VtxoRecord>>, candidate: Arc<VtxoRecord>) -> bool {
    let smallest = picked
        .iter()
        .enumerate()
        .min_by_key(|(_, vtxo)| (vtxo.amount, Reverse(vtxo.expiry_height)));
    match smallest {
        Some((place, smallest)) if smallest.amount < candidate.amount => {
            picked.remove(place);
            picked.push(candidate);
            true
        }
        _ => false,
    }
}

fn total(picked: &[Arc<VtxoRecord>]) -> Amount {
    let mut amounts = picked.iter().map(|vtxo| vtxo.amount);
    let sum = amounts.try_fold(Amount::ZERO, Amount::checked_add);
    sum.unwrap_or(Amount::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VtxoState;
    use ark_lib::vtxo::VtxoPolicyKind;
    use bitcoin::hashes::Hash;
    use bitcoin_ext::BlockHeight;
    use proptest::prelude::*;

    fn vtxo(number: usize, amount: u64, expiry: u32) -> Arc<VtxoRecord> {
        let key = bitcoin::secp256k1::SecretKey::from_slice(&[7; 32])
            .unwrap()
            .public_key(&ark_lib::SECP);
        let txid = bitcoin::Txid::hash(&number.to_be_bytes());
        let point = bitcoin::OutPoint::new(txid, 0);
        Arc::new(VtxoRecord {
            id: point.into(),
            amount: Amount::from_sat(amount),
            policy: VtxoPolicyKind::Pubkey,
            user_pubkey: key,
            server_pubkey: key,
            expiry_height: BlockHeight::new(expiry),
            exit_delta: bitcoin_ext::BlockDelta::new(12),
            chain_anchor: point,
            exit_depth: 1,
            exit_tx_weight: bitcoin::Weight::ZERO,
            state: VtxoState::Spendable,
            registered: true,
        })
    }

    const LIMITS: Limits = Limits {
        tip: BlockHeight::new(100),
        max_exit_depth: 10,
    };

    proptest! {
        /// The selection pays the amount and the fee that is charged for exactly this selection.
        #[test]
        fn the_selection_pays_its_own_fee(
            vtxos in prop::collection::vec((1..100_000u64, 50..5_000u32), 0..30),
            amount in 1..500_000u64,
            max_inputs in 1..12usize,
        ) {
            let amount = Amount::from_sat(amount);
            let fees = arkwalletd_sandbox::ark::charging_fees().lightning_send;
            let fee = |picked: &[Arc<VtxoRecord>]| {
                let infos = picked.iter().map(|vtxo| vtxo.fee_info(LIMITS.tip));
                fees.calculate(amount, infos).unwrap()
            };
            let mut offered: Vec<_> = vtxos
                .iter()
                .enumerate()
                .map(|(number, (amount, expiry))| vtxo(number, *amount, *expiry))
                .collect();
            offered.sort_by_key(|vtxo| vtxo.expiry_height);
            let mut picker = Picker::new(LIMITS, max_inputs, |picked| amount.checked_add(fee(picked)));
            for candidate in offered.iter().cloned() {
                if !picker.offer(candidate) {
                    break;
                }
            }
            let usable: Vec<_> = offered.into_iter().filter(|vtxo| LIMITS.allow(vtxo)).collect();
            match picker.finish() {
                Ok((picked, needed)) => {
                    prop_assert!(picked.len() <= max_inputs);
                    prop_assert!(picked.iter().all(|vtxo| LIMITS.allow(vtxo)));
                    prop_assert_eq!(needed, amount + fee(&picked));
                    prop_assert!(total(&picked) >= needed);
                }
                Err(error) if error.code() == "insufficient_funds" => {
                    prop_assert!(total(&usable) < amount + fee(&usable));
                }
                Err(error) => {
                    prop_assert_eq!(error.code(), "too_many_inputs");
                    prop_assert!(usable.len() > max_inputs);
                }
            }
        }
    }
}
