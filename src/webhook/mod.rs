//! The sender of webhooks: signed posts as the specification Standard Webhooks describes them (<https://www.standardwebhooks.com>).
//!
//! The operator names the receivers, so private addresses and plain http are allowed, unlike those of [`lnurl`](crate::lnurl). A
//! [`Client`] limits the time of each exchange and the size of each answer, and follows no redirect.

mod client;
mod sign;
mod target;

pub use client::{Answer, Client, ClientConfig, Post};
pub use target::parse_url;
