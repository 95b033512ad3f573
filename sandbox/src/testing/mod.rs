//! Fixtures for tests of this crate and of the crates that use it: a real bitcoind, and a regtest chain of either kind.
//!
//! They panic with a reason instead of returning errors, because a fixture that does not start fails the test.

mod bitcoind;
mod ports;
mod regtest;

pub use bitcoind::Bitcoind;
pub use ports::free_port;
pub use regtest::Regtest;
