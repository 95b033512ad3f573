//! A self-custodial bitcoin wallet daemon for the Ark protocol, driven over HTTP.

pub mod app;
pub mod ark;
pub mod background;
pub mod chain;
pub mod cli;
pub mod config;
pub mod datadir;
pub mod http;
pub mod logging;
pub mod model;
pub mod onchain;
pub mod store;
pub mod wallet;
