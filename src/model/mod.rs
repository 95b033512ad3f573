//! The types that both the wallet and the store work with: movements, operations, invoices, exits and VTXO records.

mod attention;
mod exit;
mod fact;
mod invoice;
mod lightning;
mod movement;
mod operation;
mod recovery;
mod transfer;
mod vtxo;

pub use attention::Attention;
pub use exit::{
    Block, ChildOrigin, ExitChild, ExitProblem, ExitRow, ExitState, ExitTx, ExitTxOrigin,
    ExitTxStatus,
};
pub use fact::{Fact, Facts};
pub use invoice::{Invoice, InvoiceEnd, InvoiceOutcome};
pub use lightning::LightningSendRow;
pub use movement::{HistoryPage, Movement, MovementId, MovementStatus, NewMovement, Subsystem};
pub use operation::{OperationId, OperationKind, OperationRow, Outcome};
pub use recovery::{
    CandidateSource, FoundVtxo, LeftOut, OpenCandidate, RecoveryCause, RecoveryRow, UnprovenSpend,
    Verdict,
};
pub use transfer::{PaymentMethod, Transfer};
pub use vtxo::{VtxoRecord, VtxoState};
