//! What an operation writes to its movement, and how it ends.

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};
use rusqlite::Connection;
use serde_json::Value;

use crate::model::{Fact, Movement, MovementId, MovementStatus, OperationId, VtxoState};
use crate::store::{WriteTx, movement, vtxo};
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Error, Result};

/// The movement of an operation. Every operation writes one when it starts.
///
/// # Errors
/// `internal` when there is none.
pub(in crate::wallet) fn movement_of(
    connection: &Connection,
    id: &OperationId,
) -> Result<MovementId> {
    movement::id_of_operation(connection, id)?
        .ok_or_else(|| Error::internal(anyhow::anyhow!("operation {id} has no movement")))
}

/// Adds facts to the movement's metadata.
pub(in crate::wallet) fn note<const N: usize>(
    tx: &WriteTx<'_>,
    id: &OperationId,
    facts: [(Fact, Value); N],
) -> Result<()> {
    let movement = movement_of(tx, id)?;
    Ok(movement::note(
        tx,
        movement,
        facts.into(),
        clock::now_millis(),
    )?)
}

/// Adds VTXOs that the operation made for the wallet to the movement.
pub(in crate::wallet) fn add_outputs(
    tx: &WriteTx<'_>,
    id: &OperationId,
    outputs: &[VtxoId],
) -> Result<()> {
    let movement = movement_of(tx, id)?;
    Ok(movement::add_outputs(
        tx,
        movement,
        outputs,
        clock::now_millis(),
    )?)
}

/// Marks VTXOs that were forfeited as spent. One that was exited stays exited.
pub(in crate::wallet) fn spend_forfeited(tx: &mut WriteTx<'_>, inputs: &[VtxoId]) -> Result<()> {
    for input in inputs {
        let record = vtxo::get(tx, *input)?;
        if record.is_some_and(|record| record.state != VtxoState::Exited) {
            vtxo::spend(tx, *input)?;
        }
    }
    Ok(())
}

/// Marks the movement as successful.
pub(in crate::wallet) fn succeed(tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
    finish_movement(tx, id, MovementStatus::Successful, None)
}

/// Marks the movement as successful although the balance did not change: what came in, less the fee, went on to somebody else.
pub(in crate::wallet) fn pass_on(tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
    let movement = movement_of(tx, id)?;
    if let Some(Movement { offchain_fee, .. }) = movement::get(tx, movement)? {
        let now = clock::now_millis();
        movement::revise(tx, movement, &[], SignedAmount::ZERO, offchain_fee, now)?;
    }
    succeed(tx, id)
}

/// Marks the movement as failed or canceled: the balance did not change.
pub(in crate::wallet) fn fail_movement(
    tx: &WriteTx<'_>,
    id: &OperationId,
    status: MovementStatus,
) -> Result<()> {
    finish_movement(tx, id, status, Some(SignedAmount::ZERO))
}

/// Marks the movement as failed although the balance changed: coins are gone that somebody else has spent.
pub(in crate::wallet) fn fail_at_a_loss(
    tx: &WriteTx<'_>,
    id: &OperationId,
    loss: SignedAmount,
) -> Result<()> {
    finish_movement(tx, id, MovementStatus::Failed, Some(loss))
}

fn finish_movement(
    tx: &WriteTx<'_>,
    id: &OperationId,
    status: MovementStatus,
    effective: Option<SignedAmount>,
) -> Result<()> {
    let movement = movement_of(tx, id)?;
    Ok(movement::finish(
        tx,
        movement,
        status,
        effective,
        clock::now_millis(),
    )?)
}

/// Ends an operation that certainly changed nothing: releases every VTXO that it holds, and marks its movement.
pub(in crate::wallet) fn abort<F>(
    point: CommitPoint,
    id: &OperationId,
    status: MovementStatus,
    reason: Error,
) -> Step<F> {
    let id = id.clone();
    Step::commit(point, Next::Failed(reason), move |tx| {
        vtxo::release(tx, &id)?;
        fail_movement(tx, &id, status)
    })
}

/// An amount as a change of the balance.
///
/// # Errors
/// `internal` when the amount is more than a signed amount holds; there are fewer satoshis than that.
pub(in crate::wallet) fn signed(amount: Amount) -> Result<SignedAmount> {
    amount.to_signed().map_err(Error::internal)
}
