//! The wallet's access to the bitcoin chain: one handle, [`ChainSource`], over an Esplora server or a bitcoind
//! (docs/protocol.md §9).
//!
//! A backend answers single questions. What all parts of the wallet share (the tip, the fee rates, confirmed transactions) is
//! cached in the handle. No request to a backend takes longer than ten seconds.

mod bitcoind;
mod config;
mod error;
mod esplora;
mod fees;
#[cfg(test)]
pub(crate) mod fixture;
mod package;
#[cfg(test)]
mod scenarios;
mod source;
mod status;
#[cfg(test)]
mod tests;
mod timeout;
mod tip;
mod tx_cache;

pub(crate) use bitcoind::Bitcoind;
pub use bitcoind::BitcoindAuth;
pub use config::{BackendConfig, ChainConfig};
pub use error::{BroadcastError, Error};
pub(crate) use esplora::Esplora;
pub use fees::FeeRates;
pub use source::ChainSource;
pub(crate) use source::WalletSource;
pub use status::{MempoolPackage, Spend, TxStatus};
pub use tip::Tip;
