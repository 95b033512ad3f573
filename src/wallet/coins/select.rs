//! Which VTXOs pay (docs/protocol.md §6.1).

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use ark_lib::VtxoId;
use ark_lib::vtxo::VtxoPolicyKind;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;

use crate::model::{VtxoRecord, VtxoState};
use crate::store::WriteTx;
use crate::store::vtxo;
use crate::wallet::{Error, Result};

/// What a VTXO must be like to be spent now.
#[derive(Clone, Copy, Debug)]
pub(in crate::wallet) struct Limits {
    /// The present height: what has expired cannot be spent out of round.
    pub tip: BlockHeight,
    /// The server cosigns only below this exit depth.
    pub max_exit_depth: u16,
}

impl Limits {
    pub(in crate::wallet) fn allow(&self, vtxo: &VtxoRecord) -> bool {
        vtxo.expiry_height > self.tip && vtxo.exit_depth < self.max_exit_depth
    }
}

/// Refuses a list of VTXOs, named for an `act` such as "refresh", that makes no sense.
///
/// # Errors
/// `no_vtxos`, `duplicate_vtxo`.
pub(in crate::wallet) fn check_named(vtxos: &[VtxoId], act: &str) -> Result<()> {
    let distinct: HashSet<&VtxoId> = vtxos.iter().collect();
    if vtxos.is_empty() {
        let message = format!("there is nothing to {act}");
        return Err(Error::bad_request("no_vtxos", message));
    }
    if distinct.len() < vtxos.len() {
        return Err(Error::bad_request(
            "duplicate_vtxo",
            "a VTXO is named twice",
        ));
    }
    Ok(())
}

/// Whether the VTXO as a whole can go into a round, or on chain through the server.
pub(in crate::wallet) fn is_free(vtxo: &VtxoRecord) -> bool {
    vtxo.state == VtxoState::Spendable && vtxo.policy == VtxoPolicyKind::Pubkey
}

/// The VTXO with this id, which is to be `done`, such as "refreshed", and has to be free for it.
///
/// # Errors
/// `unknown_vtxo`, `vtxo_not_spendable`.
pub(in crate::wallet) fn named(
    tx: &WriteTx<'_>,
    id: VtxoId,
    done: &str,
) -> Result<Arc<VtxoRecord>> {
    let record = vtxo::get(tx, id)?.ok_or_else(|| {
        Error::not_found("unknown_vtxo", format!("the wallet has no VTXO {id}"), id)
    })?;
    if is_free(&record) {
        return Ok(record);
    }
    let message = format!("VTXO {id} is {} and cannot be {done}", record.state);
    Err(Error::conflict("vtxo_not_spendable", message))
}

/// Picks VTXOs worth at least `target`: those that expire first, the deepest first among equals.
///
/// It runs in the transaction that locks them, so no two operations can pick the same.
///
/// # Errors
/// `insufficient_funds`, with what there is.
pub(in crate::wallet) fn select(
    tx: &WriteTx<'_>,
    target: Amount,
    limits: Limits,
) -> Result<Vec<Arc<VtxoRecord>>> {
    let mut picked = Vec::new();
    let mut sum = Amount::ZERO;
    vtxo::walk_spendable(tx, |candidate| {
        if limits.allow(&candidate) {
            sum = sum.checked_add(candidate.amount).unwrap_or(Amount::MAX);
            picked.push(candidate);
        }
        sum < target
    })?;
    if sum < target {
        let message = format!(
            "the payment needs {} sat, but only {} sat can be spent now; wait for pending coins, board more, or refresh",
            target.to_sat(),
            sum.to_sat()
        );
        return Err(Error::bad_request("insufficient_funds", message));
    }
    Ok(picked)
}

/// Picks as [`select`] does, for a payment whose need depends on what is picked: an amount and the fee for it. At most
/// `max_inputs`; when they do not reach, the smallest gives way to a larger one (docs/protocol.md §6.1).
///
/// Answers also what is needed.
///
/// # Errors
/// `insufficient_funds` or `too_many_inputs`; `amount_too_large` when `need` overflows.
pub(in crate::wallet) fn select_for(
    connection: &Connection,
    limits: Limits,
    max_inputs: usize,
    need: impl Fn(&[Arc<VtxoRecord>]) -> Option<Amount>,
) -> Result<(Vec<Arc<VtxoRecord>>, Amount)> {
    let mut picker = Picker::new(limits, max_inputs, need);
    vtxo::walk_spendable(connection, |candidate| picker.offer(candidate))?;
    picker.finish()
}

/// The pick so far, for a need that depends on it.
struct Picker<N> {
    limits: Limits,
    max_inputs: usize,
    need: N,
    picked: Vec<Arc<VtxoRecord>>,
    sum: Amount,
    /// What all that was offered is worth.
    available: Amount,
    /// As of the last look; `None` when it overflows. It only grows, so that it is looked at only when it may be met.
    needed: Option<Amount>,
}

impl<N: Fn(&[Arc<VtxoRecord>]) -> Option<Amount>> Picker<N> {
    fn new(limits: Limits, max_inputs: usize, need: N) -> Picker<N> {
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

    /// Takes the next candidate, or leaves it; answers whether more are wanted.
    fn offer(&mut self, candidate: Arc<VtxoRecord>) -> bool {
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

    fn finish(self) -> Result<(Vec<Arc<VtxoRecord>>, Amount)> {
        let Some(needed) = self.needed else {
            let message = "the amount and its fee overflow; pay less";
            return Err(Error::bad_request("amount_too_large", message));
        };
        if self.sum >= needed {
            return Ok((self.picked, needed));
        }
        if self.available >= needed {
            let message = format!(
                "the payment needs {} sat, more than {} VTXOs hold together; refresh first, or pay in several parts",
                needed.to_sat(),
                self.max_inputs
            );
            return Err(Error::bad_request("too_many_inputs", message));
        }
        let message = format!(
            "the payment needs {} sat with its fee, but only {} sat can be spent now; wait for pending coins, board more, or refresh",
            needed.to_sat(),
            self.available.to_sat()
        );
        Err(Error::bad_request("insufficient_funds", message))
    }
}

/// Takes the candidate in place of the smallest, among equals the one that expires last, if it is larger.
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

/// The pieces that the change comes back in: one, unless it is larger than the payment; then `pieces`, so that later
/// payments do not all hang from one chain of spends (docs/protocol.md §4.2).
pub(in crate::wallet) fn split_change(change: Amount, payment: Amount, pieces: u8) -> Vec<Amount> {
    if change == Amount::ZERO {
        return Vec::new();
    }
    let pieces = u64::from(if change > payment { pieces.max(1) } else { 1 });
    let piece = change / pieces;
    if piece == Amount::ZERO {
        return vec![change];
    }
    let mut split = vec![piece; usize::try_from(pieces - 1).unwrap_or(0)];
    split.push(change - piece * (pieces - 1));
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sats(amounts: &[Amount]) -> Vec<u64> {
        amounts.iter().map(|amount| amount.to_sat()).collect()
    }

    #[test]
    fn change_is_split_only_when_it_is_larger_than_the_payment() {
        let split = |change, payment| {
            sats(&split_change(
                Amount::from_sat(change),
                Amount::from_sat(payment),
                2,
            ))
        };
        assert_eq!(split(0, 5), [0; 0]);
        assert_eq!(split(100, 100), [100]);
        assert_eq!(split(101, 100), [50, 51]);
        assert_eq!(split(1, 0), [1]);
    }

    fn vtxo(number: usize, amount: u64, expiry: u32) -> Arc<VtxoRecord> {
        use crate::model::VtxoState;
        use ark_lib::vtxo::VtxoPolicyKind;
        use bitcoin::hashes::Hash;
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
        /// What is picked pays the amount and the fee that is charged for exactly what is picked.
        #[test]
        fn the_pick_covers_its_own_fee(
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

        #[test]
        fn the_pieces_are_the_change(change in 0..=Amount::MAX_MONEY.to_sat(), payment in 0..=Amount::MAX_MONEY.to_sat(), pieces in 1..=3u8) {
            let split = split_change(Amount::from_sat(change), Amount::from_sat(payment), pieces);
            prop_assert_eq!(split.iter().map(|amount| amount.to_sat()).sum::<u64>(), change);
            prop_assert!(split.iter().all(|amount| *amount > Amount::ZERO));
            prop_assert!(split.len() <= usize::from(pieces));
        }
    }
}
