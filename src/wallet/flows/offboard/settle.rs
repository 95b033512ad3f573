//! The steps from the signed transaction to the end.

use std::time::Duration;

use super::{Offboard, Settling};
use crate::chain::TxStatus;
use crate::model::MovementStatus;
use crate::model::OperationId;
use crate::model::VtxoState;
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Next, Step, VANISHED_PAUSE};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Sees to it that the transaction is out.
pub(super) async fn broadcast(wallet: &Wallet, settling: Settling) -> Result<Step<Offboard>> {
    let txid = settling.transaction.compute_txid();
    if wallet.chain.status(txid).await? == TxStatus::NotFound {
        let package = std::slice::from_ref(&settling.transaction);
        wallet
            .chain
            .broadcast_package(package)
            .await
            .map_err(|error| {
                let grace = wallet.settings.offboard_grace;
                vanished(&settling, grace, &error.to_string())
            })?;
    }
    Ok(Step::commit(
        CommitPoint::OffboardBroadcast,
        Next::State(Offboard::Confirm(settling)),
        |_| Ok(()),
    ))
}

/// Once it is deep enough, the inputs are gone. One that vanishes is broadcast again.
pub(super) async fn confirm(
    wallet: &Wallet,
    id: &OperationId,
    settling: Settling,
) -> Result<Step<Offboard>> {
    let needed = u32::from(wallet.settings.offboard_confirmations);
    let txid = settling.transaction.compute_txid();
    match wallet.chain.confirmations(txid).await? {
        None => {
            tracing::warn!(%txid, "an offboard transaction has vanished; it is broadcast again");
            return Ok(Step::commit(
                CommitPoint::OffboardSigned,
                Next::Later(Offboard::Broadcast(settling), VANISHED_PAUSE),
                |_| Ok(()),
            ));
        }
        Some(depth) if depth < needed => return Ok(Step::AwaitBlock),
        Some(_) => {}
    }
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::OffboardSettled,
        Next::Done,
        move |tx| {
            for input in &settling.inputs {
                let record = vtxo::get(tx, *input)?;
                if record.is_some_and(|record| record.state != VtxoState::Exited) {
                    vtxo::spend(tx, *input)?;
                }
            }
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                let now = clock::now_millis();
                movement::finish(tx, movement, MovementStatus::Successful, None, now)?;
            }
            Ok(())
        },
    ))
}

/// What it means that the transaction does not get out. Whatever it means, the server can still confirm it (H29).
fn vanished(settling: &Settling, grace: Duration, reason: &str) -> Error {
    let txid = settling.transaction.compute_txid();
    let waited = clock::now_millis().saturating_sub(settling.since);
    let overdue = u128::try_from(waited).is_ok_and(|waited| waited > grace.as_millis());
    if overdue {
        tracing::error!(%txid, reason, "an offboard transaction is lost. Its VTXOs stay locked, because the Ark server can still confirm it; ask the operator of the server, or take the VTXOs on chain with an exit before they expire");
    }
    let state = if overdue {
        "is lost"
    } else {
        "does not get out"
    };
    Error::unavailable(
        "chain_unavailable",
        format!("the offboard transaction {txid} {state}; it is broadcast again: {reason}"),
    )
}
