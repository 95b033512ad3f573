//! Rounds: clients give up VTXOs for new ones in a new tree that one transaction funds (docs/protocol.md §31.4, §32.4, §32.5).
//!
//! Until its transaction is complete, a round is kept in RAM only and ends at a restart; by then no VTXO is forfeited.
//! After that, everything is in the store.

mod attempt;
mod check;
mod claim;
mod config;
mod delegated;
mod events;
mod forge;
mod nonces;
mod rounds;
mod run;
mod schedule;
mod submit;
mod subscribe;
mod tree;

pub use config::{RoundConfig, RoundConfigChange};
pub use rounds::Rounds;
pub use run::RoundOutcome;
