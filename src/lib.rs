//! A self-custodial bitcoin wallet daemon for the Ark protocol, driven over HTTP.

pub mod app;
pub mod ark;
pub mod chain;
pub mod cli;
pub mod config;
pub mod datadir;
pub mod http;
pub mod logging;
pub mod onchain;
pub mod sandbox;
pub mod store;
pub mod sync;
pub mod wallet;
