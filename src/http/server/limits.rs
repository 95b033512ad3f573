//! How many connections there are at most, and how long each may wait for its client.

use std::time::Duration;

/// The settings of the listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The maximum number of open connections.
    pub(crate) connections: usize,
    /// How long a connection without a request stays open.
    pub(crate) idle: Duration,
    /// How long a client may take to send the head of a request, to send its body, or to take any part of an answer.
    pub(crate) client: Duration,
}

impl Limits {
    /// How often connections are checked: a tenth of the shorter time, at most a second.
    pub(super) fn check_interval(&self) -> Duration {
        let shorter = self.idle.min(self.client);
        (shorter / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4_096,
            idle: Duration::from_secs(75),
            client: Duration::from_secs(30),
        }
    }
}
