//! The list of boards that are not registered yet.

use ark_lib::VtxoId;
use bitcoin::{Amount, Transaction};
use rusqlite::Connection;

use crate::model::{MovementId, OperationId, OperationKind};
use crate::store::operation;
use crate::wallet::engine::state_of;
use crate::wallet::engine::steps::end::movement_of;
use crate::wallet::{Error, Result, Wallet};

use super::Board;

/// A board that is not registered yet.
#[derive(Clone, Debug)]
pub struct PendingBoard {
    /// The funding transaction; unsigned until the exit is signed.
    pub funding_tx: Transaction,
    /// The VTXO that the board makes.
    pub vtxos: Vec<VtxoId>,
    /// The VTXO's value in sat, after the board fee.
    pub amount: Amount,
    /// Its movement.
    pub movement: MovementId,
}

impl Wallet {
    /// The boards that are not registered yet, oldest first.
    ///
    /// # Errors
    /// `internal` when the database cannot be read.
    pub async fn pending_boards(&self) -> Result<Vec<PendingBoard>> {
        self.store
            .read(|connection| {
                // What cannot be read stands in the list of what waits for the operator (H57).
                let boards = operation::unfinished(connection)?
                    .into_iter()
                    .filter(|row| row.kind == OperationKind::Board)
                    .filter_map(|row| state_of(&row).ok().map(|board| (row.id, board)));
                boards
                    .map(|(id, board)| view(connection, &id, board))
                    .collect()
            })
            .await
    }

    /// The board with this operation id, also if it has ended.
    ///
    /// # Errors
    /// `still_in_progress` while the server has not signed: until then it may be given up.
    pub(in crate::wallet) async fn signed_board(&self, id: &OperationId) -> Result<PendingBoard> {
        let id = id.clone();
        self.store
            .read(move |connection| {
                let missing = || Error::internal(anyhow::anyhow!("board {id} has no row"));
                let row = operation::get(connection, &id)?.ok_or_else(missing)?;
                let board = view(connection, &id, state_of(&row)?)?;
                match state_of(&row)? {
                    Board::Cosign(_) => Err(Error::still_in_progress("board", board.movement)),
                    Board::Broadcast(_) | Board::Confirm(_) => Ok(board),
                }
            })
            .await
    }
}

fn view(connection: &Connection, id: &OperationId, board: Board) -> Result<PendingBoard> {
    let movement = movement_of(connection, id)?;
    Ok(match board {
        Board::Cosign(funded) => PendingBoard {
            funding_tx: funded.psbt.unsigned_tx,
            vtxos: vec![funded.vtxo],
            amount: funded
                .amount
                .checked_sub(funded.fee)
                .unwrap_or(Amount::ZERO),
            movement,
        },
        Board::Broadcast(signed) | Board::Confirm(signed) => PendingBoard {
            funding_tx: signed.funding_tx,
            vtxos: vec![signed.vtxo],
            amount: signed.net,
            movement,
        },
    })
}
