//! Boards.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::schema::transaction::TransactionInfo;
use crate::wallet::PendingBoard;

/// A board whose funding transaction waits for confirmations.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PendingBoardInfo {
    /// The transaction that has to confirm.
    funding_tx: TransactionInfo,
    /// The VTXOs that the board creates.
    vtxos: Vec<String>,
    /// The value of the VTXOs, after the board fee, in satoshis.
    amount_sat: u64,
    /// The id of its movement in the history.
    movement_id: u32,
}

impl From<PendingBoard> for PendingBoardInfo {
    fn from(board: PendingBoard) -> Self {
        Self {
            funding_tx: (&board.funding_tx).into(),
            vtxos: board.vtxos.iter().map(ToString::to_string).collect(),
            amount_sat: board.amount.to_sat(),
            movement_id: board.movement.0,
        }
    }
}
