//! Boards that are not registered yet.

use ark_lib::VtxoId;
use bitcoin::{Amount, Transaction};
use rusqlite::Connection;

use crate::model::MovementId;
use crate::model::{OperationId, OperationKind, OperationRow};
use crate::store;
use crate::store::movement;
use crate::store::operation;
use crate::wallet::{Error, Result, Wallet};

use super::Board;

/// A board under way.
#[derive(Clone, Debug)]
pub struct PendingBoard {
    /// The transaction that funds it; unsigned while the exit is not signed.
    pub funding_tx: Transaction,
    /// The VTXO that it becomes.
    pub vtxos: Vec<VtxoId>,
    /// The VTXO's value, after the board fee.
    pub amount: Amount,
    /// Its entry in the history.
    pub movement: MovementId,
}

impl Wallet {
    /// The boards under way, oldest first.
    pub async fn pending_boards(&self) -> Result<Vec<PendingBoard>> {
        self.store
            .read(|connection| {
                let boards = operation::unfinished(connection)?
                    .into_iter()
                    .filter(|row| row.kind == OperationKind::Board);
                boards.map(|row| pending(connection, &row)).collect()
            })
            .await
    }

    /// The board with this operation id, whatever became of it.
    pub(super) async fn pending_board(&self, id: &OperationId) -> Result<PendingBoard> {
        let id = id.clone();
        self.store
            .read(move |connection| {
                let row = operation::get(connection, &id)?;
                pending(
                    connection,
                    &row.ok_or_else(|| Error::internal(anyhow::anyhow!("board {id} has no row")))?,
                )
            })
            .await
    }
}

fn pending(connection: &Connection, row: &OperationRow) -> Result<PendingBoard> {
    let board: Board =
        serde_json::from_str(&row.state).map_err(|error| store::Error::corrupt("board", error))?;
    let movement = movement::id_of_operation(connection, &row.id)?;
    let movement = movement
        .ok_or_else(|| Error::internal(anyhow::anyhow!("operation {} has no movement", row.id)))?;
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
