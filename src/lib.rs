//! A self-custodial bitcoin wallet daemon for the Ark protocol, driven over HTTP.
//!
//! The library has one user, the program `arkwalletd`. Public is what that program and the tests in `tests/` use.

pub mod app;

mod ark;
mod background;
mod chain;
mod cli;
mod config;
mod datadir;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod lnurl;
mod logging;
mod model;
mod onchain;
mod store;
mod wallet;
mod webhook;

pub use http::openapi;
pub use wallet::CommitPoint;
