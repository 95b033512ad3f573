//! The clock of the Ark server and of the Lightning world: the machine's clock plus what a test added. A wallet keeps the machine's
//! clock. Blocks are stamped by another one, the chain's.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// The clock. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(watch::Sender<Duration>);

impl Default for Clock {
    fn default() -> Clock {
        Clock(watch::Sender::new(Duration::ZERO))
    }
}

impl Clock {
    /// Time since 1970.
    pub fn now(&self) -> Duration {
        Clock::machine() + *self.0.borrow()
    }

    /// Time since 1970 by the machine's clock, which wallets have.
    pub fn machine() -> Duration {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }

    /// Lets time pass at once.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|ahead| *ahead += by);
    }

    /// Tells when time was advanced.
    pub fn subscribe(&self) -> watch::Receiver<Duration> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_advance_together() {
        let clock = Clock::default();
        let before = clock.clone().now();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.clone().now() >= before + Duration::from_secs(3600));
        assert!(Clock::machine() < before + Duration::from_secs(3600));
    }
}
