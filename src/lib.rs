//! A self-custodial bitcoin wallet daemon for the Ark protocol, driven over HTTP.

pub mod config;
pub mod datadir;
pub mod sandbox;
