//! The harness: a world (chain, faucet, Ark server) inside the test, and daemons that are the real program, driven over HTTP.

mod daemon;
mod http;
mod money;
mod published;
mod rounds;
mod wait;
mod world;

pub use daemon::{Daemon, creation, program};
pub use http::Reply;
pub use money::{assert_conserved, assert_history_adds_up};
pub use published::complaints;
pub use rounds::{charging_rounds_of, rounds_of};
pub use wait::eventually;
pub use world::World;

/// How long anything that is bound to happen may take.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
