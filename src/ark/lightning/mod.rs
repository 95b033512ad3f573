//! The calls about Lightning payments (docs/protocol.md §4.6, §4.7).

mod offers;

pub use offers::NoInvoice;
