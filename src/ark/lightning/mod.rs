//! The calls about Lightning payments (docs/protocol.md §4.6, §4.7).

mod offers;
mod send;

pub use offers::NoInvoice;
pub use send::{PaymentOrder, PaymentStatus};
