//! The harness: a world (chain, faucet, Ark server) in the test's process, and daemon processes that are driven over HTTP.

mod books;
mod daemon;
mod events;
mod fan_out;
mod faults;
mod http;
mod lightning;
mod money;
mod publish;
mod published;
mod python;
mod raw;
mod rounds;
mod wait;
mod wallet;
mod world;

pub use books::{Books, assert_balanced};
pub use daemon::{Daemon, creation, program};
pub use http::Reply;
pub use lightning::{FAIL, SETTLE, hash_of};
pub use money::{assert_conserved, assert_history_adds_up, total};
pub use published::{Sent, complaints, published_document, published_folder};
pub use python::run_tool;
pub use raw::RawConnection;
pub use rounds::{charging_rounds_of, rounds_of};
pub use wait::eventually;
pub use wallet::is_exit;
pub use world::World;

/// How long a test waits for a condition.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
