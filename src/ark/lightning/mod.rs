//! The Lightning calls (docs/protocol.md §31.6).

mod offers;
mod receive;
mod send;

pub use offers::NoInvoice;
pub use receive::{AntiDosProof, InvoiceOrder, ReceiveStatus};
pub use send::{PaymentOrder, PaymentStatus};
