//! The steps from the signed board to the spendable VTXO.

use super::{Board, SignedBoard};
use crate::chain::TxStatus;
use crate::model::{MovementStatus, OperationId};
use crate::store::vtxo;
use crate::wallet::engine::steps::broadcast::{self, Broadcast, Depth, broadcast_again};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::steps::exited::{Exited, exited};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Broadcasts the funding transaction, and records it in the on-chain wallet.
pub(super) async fn broadcast(
    wallet: &Wallet,
    id: &OperationId,
    mut signed: SignedBoard,
) -> Result<Step<Board>> {
    if !signed.was_broadcast && expires_too_soon(wallet, &signed).await? {
        let reason = Error::conflict(
            "board_expired",
            "the board would expire before it could be exited safely; nothing was broadcast. Board again",
        );
        return Ok(write_off(wallet, id, &signed, reason));
    }
    match broadcast::broadcast(wallet, &signed.funding_tx).await? {
        Broadcast::Out => signed.was_broadcast = true,
        Broadcast::DoubleSpent => return Ok(write_off(wallet, id, &signed, double_spent())),
        Broadcast::Failed(error) => {
            let txid = signed.funding_tx.compute_txid();
            return Err(broadcast::not_broadcast("board's funding", txid, &error));
        }
    }
    let (onchain, id) = (wallet.onchain.clone(), id.clone());
    let transaction = signed.funding_tx.clone();
    Ok(Step::commit(
        CommitPoint::BoardBroadcast,
        Next::State(Board::Confirm(signed)),
        move |tx| Ok(onchain.record(tx, &transaction, Some(id.as_str()))?),
    ))
}

/// Registers the board with the server once its funding transaction is deep enough.
pub(super) async fn confirm(
    wallet: &Wallet,
    id: &OperationId,
    signed: SignedBoard,
) -> Result<Step<Board>> {
    if exited(wallet, &[signed.vtxo]).await? != Exited::None {
        return Ok(registered(id));
    }
    wallet.onchain.catch_up().await?;
    let txid = signed.funding_tx.compute_txid();
    // Without the server's parameters, a funding transaction that is not in a block yet is still followed.
    let info = wallet.connected_info();
    let needed = info
        .as_ref()
        .map_or(1, |info| info.required_board_confirmations.max(1));
    let needed = u32::try_from(needed).unwrap_or(u32::MAX);
    match broadcast::depth(wallet, txid, needed).await? {
        Depth::Reached => {}
        Depth::Waiting => return Ok(Step::AwaitBlock),
        Depth::Vanished => {
            let state = Board::Broadcast(signed);
            return Ok(broadcast_again(CommitPoint::BoardBroadcast, state));
        }
    }
    info?;
    let board = wallet.full_vtxos(vec![signed.vtxo]).await?;
    for vtxo in &board {
        wallet.server.register_board(vtxo).await?;
    }
    Ok(registered(id))
}

/// Ends a board whose VTXO the server has registered, or that was exited: then the movement of the exit takes it from here.
fn registered(id: &OperationId) -> Step<Board> {
    let id = id.clone();
    Step::commit(CommitPoint::BoardRegistered, Next::Done, move |tx| {
        vtxo::release(tx, &id)?;
        end::succeed(tx, &id)
    })
}

/// The end of a board whose funding transaction can never confirm.
pub(super) fn double_spent() -> Error {
    Error::conflict(
        "board_double_spent",
        "the coins of this board were spent by another transaction; board what is left on chain",
    )
}

/// Whether the server could take the board's output before an exit of the VTXO is claimed, with the margin for slow confirmation of
/// the funding transaction and of the exit (H53). A transaction that the network has is never too late.
async fn expires_too_soon(wallet: &Wallet, signed: &SignedBoard) -> Result<bool> {
    let tip = wallet.chain.tip().await?.height;
    let vtxo = wallet.vtxo(signed.vtxo).await?;
    if wallet.exit_room(tip, vtxo.exit_delta)? < vtxo.expiry_height {
        return Ok(false);
    }
    // A process that died right after the broadcast did not store it.
    let txid = signed.funding_tx.compute_txid();
    Ok(wallet.chain.status(txid).await? == TxStatus::NotFound)
}

/// Ends a board whose funding transaction never confirms: the on-chain coins are released, and the VTXO is worth nothing.
fn write_off(
    wallet: &Wallet,
    id: &OperationId,
    signed: &SignedBoard,
    reason: Error,
) -> Step<Board> {
    let (onchain, id, vtxo) = (wallet.onchain.clone(), id.clone(), signed.vtxo);
    Step::commit(
        CommitPoint::BoardWrittenOff,
        Next::Failed(reason),
        move |tx| {
            onchain.release(tx, id.as_str())?;
            vtxo::spend(tx, vtxo)?;
            end::fail_movement(tx, &id, MovementStatus::Failed)
        },
    )
}
