//! The client of LNURL-pay servers (docs/protocol.md §4.13.1): from a Lightning address or LNURL to an invoice.
//!
//! The payee names the server, so nothing about it is trusted. A [`Client`] reaches only addresses of the public internet, through
//! https, and limits the time, size and redirects of each exchange. What the server answers is checked before it is returned.

mod client;
mod endpoint;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod pay;
mod reach;

pub use client::{Client, ClientConfig};
pub use endpoint::Endpoint;
pub use error::Error;
