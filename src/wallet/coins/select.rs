//! Input selection: the VTXOs that pay, and the pieces of the change (docs/protocol.md §6.1, §4.2).

use std::collections::HashSet;
use std::sync::Arc;

use ark_lib::VtxoId;
use ark_lib::vtxo::{VTXO_DUST, VtxoPolicyKind};
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;

use super::list;
use super::picker::Picker;
use crate::model::{VtxoRecord, VtxoState};
use crate::store::WriteTx;
use crate::store::vtxo;
use crate::wallet::{Error, Result};

/// The most VTXOs that one payment or offboard spends. The server signs for each of them within the time of one call (H62,
/// docs/protocol.md §3.7).
pub(in crate::wallet) const MAX_INPUTS: usize = 1000;

/// What limits the VTXOs that can be spent out of round.
#[derive(Clone, Copy, Debug)]
pub(in crate::wallet) struct Limits {
    /// The present height. An expired VTXO cannot be spent.
    pub tip: BlockHeight,
    /// The server cosigns only VTXOs of a lower exit depth.
    pub max_exit_depth: u16,
}

impl Limits {
    /// Whether the VTXO can be spent out of round.
    pub(in crate::wallet) fn allow(&self, vtxo: &VtxoRecord) -> bool {
        vtxo.expiry_height > self.tip && vtxo.exit_depth < self.max_exit_depth
    }
}

/// Checks a caller's list of VTXOs: it must not be empty, and each id must stand in it once. `action` is a verb for the
/// message, such as "refresh".
///
/// # Errors
/// `no_vtxos`, `duplicate_vtxo`.
pub(in crate::wallet) fn check_named(vtxos: &[VtxoId], action: &str) -> Result<()> {
    if vtxos.is_empty() {
        let message = format!("there is no VTXO to {action}");
        return Err(Error::bad_request("no_vtxos", message));
    }
    let distinct: HashSet<&VtxoId> = vtxos.iter().collect();
    if distinct.len() < vtxos.len() {
        let message = "a VTXO id is repeated; list each id once";
        return Err(Error::bad_request("duplicate_vtxo", message));
    }
    Ok(())
}

/// Whether the VTXO can be refreshed or offboarded as a whole.
pub(in crate::wallet) fn is_free(vtxo: &VtxoRecord) -> bool {
    vtxo.state == VtxoState::Spendable && vtxo.policy == VtxoPolicyKind::Pubkey
}

/// The VTXO with this id, if it [is free](is_free). `done` is a participle for the message, such as "refreshed".
///
/// # Errors
/// `unknown_vtxo`, `vtxo_not_spendable`.
pub(in crate::wallet) fn named(
    tx: &WriteTx<'_>,
    id: VtxoId,
    done: &str,
) -> Result<Arc<VtxoRecord>> {
    let record = list::known(tx, id)?;
    if is_free(&record) {
        return Ok(record);
    }
    let message = format!("VTXO {id} is {} and cannot be {done}", record.state);
    Err(Error::conflict("vtxo_not_spendable", message))
}

/// Selects VTXOs worth at least `target`: the earliest expiry first, and among equals the greatest exit depth first.
///
/// It runs in the transaction that locks them, so that no two operations select the same VTXO.
///
/// # Errors
/// `insufficient_funds`; `too_many_inputs` if it takes more than 1000 of them.
pub(in crate::wallet) fn select(
    tx: &WriteTx<'_>,
    target: Amount,
    limits: Limits,
) -> Result<Vec<Arc<VtxoRecord>>> {
    let (selected, _) = select_for(tx, limits, MAX_INPUTS, |_| Some(target))?;
    Ok(selected)
}

/// Selects VTXOs in the order of [`select`] for a payment whose fee depends on the selection. `need` is the amount and the
/// fee for a given selection; `None` if they overflow. Takes at most `max_inputs`: a larger VTXO then replaces the smallest.
///
/// Returns the selection and what it needs to pay.
///
/// # Errors
/// `insufficient_funds`; `too_many_inputs` if more inputs would suffice; `amount_too_large` if `need` overflows.
pub(in crate::wallet) fn select_for(
    connection: &Connection,
    limits: Limits,
    max_inputs: usize,
    need: impl Fn(&[Arc<VtxoRecord>]) -> Option<Amount>,
) -> Result<(Vec<Arc<VtxoRecord>>, Amount)> {
    let mut picker = Picker::new(max_inputs, need);
    vtxo::walk_spendable(connection, |candidate| {
        !limits.allow(&candidate) || picker.offer(candidate)
    })?;
    picker.finish()
}

/// Splits the change into `pieces` if it is larger than the payment, otherwise leaves it whole. Several pieces keep later
/// payments from all descending from one chain of spends (docs/protocol.md §4.2). Fewer pieces are made where they would be dust.
pub(in crate::wallet) fn split_change(change: Amount, payment: Amount, pieces: u8) -> Vec<Amount> {
    if change == Amount::ZERO {
        return Vec::new();
    }
    let wanted = u64::from(if change > payment { pieces } else { 1 });
    let pieces = wanted.min(change.to_sat() / VTXO_DUST.to_sat()).max(1);
    let piece = change / pieces;
    let mut split = vec![piece; usize::try_from(pieces - 1).unwrap_or(0)];
    split.push(change - piece * (pieces - 1));
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::coins::testing::vtxo;
    use proptest::prelude::*;

    #[test]
    fn expired_and_deep_vtxos_cannot_be_spent_out_of_round() {
        let limits = Limits {
            tip: BlockHeight::new(100),
            max_exit_depth: 10,
        };
        let allowed = |expiry, depth| limits.allow(&vtxo(1, 1_000, expiry, depth));
        assert!(allowed(101, 9));
        assert!(!allowed(100, 9));
        assert!(!allowed(101, 10));
    }

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
        assert_eq!(split(1_001, 1_000), [500, 501]);
        assert_eq!(split(1, 0), [1]);
        assert_eq!(split(659, 100), [659], "two pieces would be dust");
        assert_eq!(split(660, 100), [330, 330]);
    }

    proptest! {
        #[test]
        fn the_pieces_add_up_to_the_change(change in 0..=Amount::MAX_MONEY.to_sat(), payment in 0..=Amount::MAX_MONEY.to_sat(), pieces in 1..=3u8) {
            let split = split_change(Amount::from_sat(change), Amount::from_sat(payment), pieces);
            prop_assert_eq!(split.iter().map(|amount| amount.to_sat()).sum::<u64>(), change);
            prop_assert!(split.len() == 1 || split.iter().all(|amount| *amount >= VTXO_DUST));
            prop_assert!(split.len() <= usize::from(pieces));
        }
    }
}
