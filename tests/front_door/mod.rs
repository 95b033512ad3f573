//! The listener: what a client may do with a connection, and that slow and idle clients do not keep others out (docs/protocol.md §21.2).

mod descriptors;
mod limits;
mod protocols;
mod slow;
mod stop;

use crate::support::Daemon;

/// A daemon without a wallet and with short limits.
async fn daemon(flags: &[&str]) -> Daemon {
    Daemon::start_with(flags, &[]).await
}

/// A request with the token, and its end.
fn request(daemon: &Daemon, line: &str, headers: &str) -> String {
    let token = daemon.token();
    format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n{headers}\r\n")
}
