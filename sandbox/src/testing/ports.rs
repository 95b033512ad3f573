//! Ports for processes that cannot pick one themselves.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A loopback TCP port that was free a moment ago.
///
/// It lies below the range from which the system takes the ports of outgoing connections, so that no connection of a test that
/// runs at the same time occupies it before the caller listens on it.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time start at different ports.
    let first = std::process::id().wrapping_mul(97);
    loop {
        let next = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(next % 20_000).expect("the remainder is below 20000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
