//! The cached tip of the best chain.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin_ext::BlockHeight;
use tokio::sync::watch;

/// How long the backend's answer is reused.
const FRESH: Duration = Duration::from_secs(1);

/// The newest block of the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
}

/// Holds the last known tip, and publishes its changes and the backend's failures.
pub(super) struct TipCache {
    tip: watch::Sender<Option<Tip>>,
    /// Whether the backend answered the last request.
    answering: watch::Sender<bool>,
    answered_at: Mutex<Option<Instant>>,
}

impl TipCache {
    pub(super) fn new() -> TipCache {
        TipCache {
            tip: watch::Sender::new(None),
            answering: watch::Sender::new(true),
            answered_at: Mutex::new(None),
        }
    }

    /// The last known tip, however old.
    pub(super) fn last(&self) -> Option<Tip> {
        *self.tip.borrow()
    }

    /// The last known tip, if the backend reported it within the last second.
    pub(super) fn fresh(&self) -> Option<Tip> {
        let answered_at = *self
            .answered_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.last()
            .filter(|_| answered_at.is_some_and(|at| at.elapsed() < FRESH))
    }

    /// Stores the backend's answer. Another hash at the same height is a change too: a reorganisation.
    pub(super) fn record(&self, tip: Tip) {
        *self
            .answered_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.tip
            .send_if_modified(|last| last.replace(tip) != Some(tip));
        self.answering.send_replace(true);
    }

    /// Notes that the backend did not answer.
    pub(super) fn record_failure(&self) {
        self.answering.send_replace(false);
    }

    /// Resolves at the next answer after a failure. A failure of the last request counts.
    pub(super) async fn next_recovery(&self) {
        let mut answering = self.answering.subscribe();
        // Neither wait can fail: `self` owns the sender.
        let _ = answering.wait_for(|answering| !answering).await;
        let _ = answering.wait_for(|answering| *answering).await;
    }

    /// Makes [`fresh`](Self::fresh) return `None` until the next answer.
    pub(super) fn expire(&self) {
        *self
            .answered_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Tip>> {
        self.tip.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    #[test]
    fn subscribers_see_each_new_tip_once_and_each_reorganisation() {
        let cache = TipCache::new();
        let mut tips = cache.subscribe();
        assert_eq!(cache.fresh(), None);
        let tip = |byte| Tip {
            height: BlockHeight::new(7),
            hash: BlockHash::from_byte_array([byte; 32]),
        };

        cache.record(tip(1));
        assert!(tips.has_changed().unwrap());
        assert_eq!(*tips.borrow_and_update(), Some(tip(1)));
        cache.record(tip(1));
        assert!(!tips.has_changed().unwrap());
        cache.record(tip(2));
        assert!(tips.has_changed().unwrap());
        assert_eq!(cache.fresh(), Some(tip(2)));
    }

    #[tokio::test]
    async fn a_recovery_is_an_answer_after_a_failure() {
        let cache = TipCache::new();
        let tip = Tip {
            height: BlockHeight::new(7),
            hash: BlockHash::from_byte_array([1; 32]),
        };
        cache.record(tip);
        let mut recovery = Box::pin(cache.next_recovery());
        assert_eq!(futures::poll!(&mut recovery), std::task::Poll::Pending);
        cache.record_failure();
        assert_eq!(futures::poll!(&mut recovery), std::task::Poll::Pending);
        cache.record(tip);
        recovery.await;
        cache.record_failure();
        let mut recovery = Box::pin(cache.next_recovery());
        assert_eq!(futures::poll!(&mut recovery), std::task::Poll::Pending);
        cache.record(tip);
        recovery.await;
    }
}
