//! The newest block that anyone in the process has seen.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin_ext::BlockHeight;
use tokio::sync::watch;

/// How long an answer about the tip serves the next question.
const FRESH: Duration = Duration::from_secs(1);

/// The newest block of the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: BlockHeight,
    /// Its hash.
    pub hash: BlockHash,
}

/// Remembers the tip and tells those who wait for a new one.
pub(super) struct TipCache {
    seen: watch::Sender<Option<Tip>>,
    /// Whether the last question was answered.
    answering: watch::Sender<bool>,
    asked_at: Mutex<Option<Instant>>,
}

impl TipCache {
    pub(super) fn new() -> TipCache {
        TipCache {
            seen: watch::Sender::new(None),
            answering: watch::Sender::new(true),
            asked_at: Mutex::new(None),
        }
    }

    /// The last tip, however old.
    pub(super) fn last(&self) -> Option<Tip> {
        *self.seen.borrow()
    }

    /// The last tip, if it was learned within the last second.
    pub(super) fn fresh(&self) -> Option<Tip> {
        let asked_at = *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.last()
            .filter(|_| asked_at.is_some_and(|at| at.elapsed() < FRESH))
    }

    /// Notes what the backend answered just now. A reorganisation counts as a change also when the height stays.
    pub(super) fn saw(&self, tip: Tip) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.seen
            .send_if_modified(|last| last.replace(tip) != Some(tip));
        self.answering.send_replace(true);
    }

    /// Notes that the backend did not answer.
    pub(super) fn failed(&self) {
        self.answering.send_replace(false);
    }

    /// Resolves at the next answer after a failure, which may have been before.
    pub(super) async fn next_return(&self) {
        let mut answering = self.answering.subscribe();
        // The sender lives as long as this cache.
        let _ = answering.wait_for(|answering| !answering).await;
        let _ = answering.wait_for(|answering| *answering).await;
    }

    /// Makes the next question go to the backend.
    pub(super) fn expire(&self) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Tip>> {
        self.seen.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    #[test]
    fn subscribers_hear_of_each_new_tip_once_and_of_reorganisations() {
        let cache = TipCache::new();
        let mut tips = cache.subscribe();
        assert_eq!(cache.fresh(), None);
        let tip = |byte| Tip {
            height: BlockHeight::new(7),
            hash: BlockHash::from_byte_array([byte; 32]),
        };

        cache.saw(tip(1));
        assert!(tips.has_changed().unwrap());
        assert_eq!(*tips.borrow_and_update(), Some(tip(1)));
        cache.saw(tip(1));
        assert!(!tips.has_changed().unwrap());
        cache.saw(tip(2));
        assert!(tips.has_changed().unwrap());
        assert_eq!(cache.fresh(), Some(tip(2)));
    }

    #[tokio::test]
    async fn a_return_is_an_answer_after_a_failure() {
        let cache = TipCache::new();
        let tip = Tip {
            height: BlockHeight::new(7),
            hash: BlockHash::from_byte_array([1; 32]),
        };
        cache.saw(tip);
        let mut back = Box::pin(cache.next_return());
        assert_eq!(futures::poll!(&mut back), std::task::Poll::Pending);
        cache.failed();
        assert_eq!(futures::poll!(&mut back), std::task::Poll::Pending);
        cache.saw(tip);
        back.await;
        cache.failed();
        let mut back = Box::pin(cache.next_return());
        assert_eq!(futures::poll!(&mut back), std::task::Poll::Pending);
        cache.saw(tip);
        back.await;
    }
}
