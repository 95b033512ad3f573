//! The types that both the wallet and the store work with: movements, events, operations, invoices, exits and VTXO records.

mod attention;
mod event;
mod exit;
mod fact;
mod idempotency;
mod invoice;
mod lightning;
mod movement;
mod operation;
mod recovery;
mod transfer;
mod vtxo;
mod webhook;

pub use attention::Attention;
pub use event::{Event, EventId, EventKind, ExpiringVtxo, OperationProgress};
pub use exit::{
    Block, ChildOrigin, ExitChild, ExitProblem, ExitRow, ExitState, ExitTx, ExitTxOrigin,
    ExitTxStatus,
};
pub use fact::{Fact, Facts};
pub use idempotency::{Effect, KeptAnswer, KeptRequest, RequestKey};
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
pub use webhook::{Delivery, Failing, Progress, Webhook, WebhookId, WebhookSecret};
