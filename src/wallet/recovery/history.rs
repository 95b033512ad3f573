//! The movement of a recovery.

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};

use crate::model::{Facts, MovementStatus, NewMovement, Subsystem};
use crate::store::{WriteTx, movement};
use crate::wallet::Result;
use crate::wallet::engine::clock;

/// Writes how the balance changes by what was found, so that the history adds up to it. `spent` are VTXOs of the wallet whose spend it did
/// not know. Writes nothing when nothing changes.
pub(in crate::wallet) fn record(
    tx: &WriteTx<'_>,
    change: SignedAmount,
    spent: &[VtxoId],
    found: &[VtxoId],
) -> Result<()> {
    if spent.is_empty() && found.is_empty() {
        return Ok(());
    }
    let movement = NewMovement {
        operation: None,
        status: MovementStatus::Successful,
        subsystem: Subsystem::Recovery,
        intended_balance: change,
        effective_balance: change,
        offchain_fee: Amount::ZERO,
        sent_to: &[],
        received_on: &[],
        input_vtxos: spent,
        output_vtxos: found,
        metadata: Facts::default(),
    };
    movement::insert(tx, &movement, clock::now_millis())?;
    Ok(())
}
