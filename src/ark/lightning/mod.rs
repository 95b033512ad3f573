//! The Lightning calls (docs/protocol.md §31.6).

mod receive;

pub use receive::{AntiDosProof, InvoiceOrder, ReceiveStatus};
