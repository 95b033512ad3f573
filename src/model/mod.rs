//! What the wallet thinks in and the store keeps: movements, operations, VTXOs.

mod movement;
mod operation;
mod vtxo;

pub use movement::{
    HistoryPage, Movement, MovementId, MovementStatus, NewMovement, PaymentMethod, Subsystem,
    Transfer,
};
pub use operation::{OperationId, OperationKind, OperationRow, Outcome};
pub use vtxo::{VtxoRecord, VtxoState};
