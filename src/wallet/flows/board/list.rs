//! The list of boards that are not registered yet.

use ark_lib::VtxoId;
use bitcoin::{Amount, Transaction};
use rusqlite::Connection;

use crate::model::{MovementId, OperationId, OperationKind, OperationRow};
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
                let boards = operation::unfinished(connection)?
                    .into_iter()
                    .filter(|row| row.kind == OperationKind::Board);
                boards.map(|row| view(connection, &row)).collect()
            })
            .await
    }

    /// The board with this operation id, in whatever state it is.
    pub(super) async fn started_board(&self, id: &OperationId) -> Result<PendingBoard> {
        let id = id.clone();
        self.store
            .read(move |connection| {
                let row = operation::get(connection, &id)?;
                view(
                    connection,
                    &row.ok_or_else(|| Error::internal(anyhow::anyhow!("board {id} has no row")))?,
                )
            })
            .await
    }
}

fn view(connection: &Connection, row: &OperationRow) -> Result<PendingBoard> {
    let movement = movement_of(connection, &row.id)?;
    Ok(match state_of(row)? {
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
