//! What the server says about its rounds, for everybody here who waits for one.
//!
//! Only the newest event is kept: who was too slow for one has missed it, and asks the server what that led to.

use std::sync::Arc;

use ark_lib::rounds::RoundEvent;
use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::AttemptId;
use crate::ark;
use crate::wallet::{Result, Wallet};

/// The newest round event. It never goes back, unless the server itself forgets.
pub(in crate::wallet) struct RoundFeed(watch::Sender<News>);

/// What is known of the rounds.
#[derive(Clone, Default)]
pub(in crate::wallet) struct News {
    /// Whether the server was heard at all; otherwise the absence of an event says nothing.
    pub(super) heard: bool,
    /// Its newest event.
    pub(super) latest: Option<Arc<RoundEvent>>,
}

impl RoundFeed {
    pub(in crate::wallet) fn new() -> RoundFeed {
        RoundFeed(watch::Sender::new(News::default()))
    }

    /// Changes with every event, and when somebody should look again for another reason.
    pub(in crate::wallet) fn subscribe(&self) -> watch::Receiver<News> {
        self.0.subscribe()
    }

    pub(super) fn news(&self) -> News {
        self.0.borrow().clone()
    }

    /// Whether this attempt is open, as far as is known.
    pub(super) fn is_at(&self, attempt: AttemptId) -> bool {
        match self.0.borrow().latest.as_deref() {
            Some(RoundEvent::Finished(_)) | None => false,
            Some(event) => AttemptId::of(event) == Some(attempt),
        }
    }

    /// Takes an event, unless a later one is known.
    fn publish(&self, event: RoundEvent) {
        self.0.send_if_modified(|news| {
            let newer = news
                .latest
                .as_ref()
                .is_none_or(|latest| order(latest) < order(&event));
            let first = !std::mem::replace(&mut news.heard, true);
            if newer {
                tracing::debug!(%event, "round");
                news.latest = Some(Arc::new(event));
            }
            newer || first
        });
    }

    /// The server answered, and has had no round since its start: what it said before that is void.
    fn nothing_yet(&self) {
        self.0.send_if_modified(|news| {
            let forgotten = news.latest.take().is_some();
            !std::mem::replace(&mut news.heard, true) || forgotten
        });
    }

    /// Makes everybody who waits look again.
    pub(in crate::wallet) fn look_again(&self) {
        self.0.send_modify(|_| {});
    }
}

/// Where an event stands in the course of things. A round that fails has no attempt after that.
fn order(event: &RoundEvent) -> (u64, usize, u8) {
    let (attempt, stage) = match event {
        RoundEvent::Attempt(event) => (event.attempt_seq, 0),
        RoundEvent::VtxoProposal(event) => (event.attempt_seq, 1),
        RoundEvent::Finished(event) => (event.attempt_seq, 2),
        RoundEvent::Failed(_) => (usize::MAX, 3),
    };
    (event.round_seq().inner(), attempt, stage)
}

impl Wallet {
    /// When the server's next round starts, seconds since 1970.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub async fn next_round(&self) -> Result<u64> {
        self.connected_info()?;
        Ok(self.server.next_round_time().await?)
    }

    /// Opens the stream of round events.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub async fn open_rounds(
        &self,
    ) -> Result<impl Stream<Item = Result<RoundEvent, ark::Error>> + Send + use<>> {
        Ok(self.server.subscribe_rounds().await?)
    }

    /// Hands the events of a stream to those who wait for them, until it ends.
    ///
    /// # Errors
    /// What ended the stream.
    pub async fn follow_rounds(
        &self,
        mut events: impl Stream<Item = Result<RoundEvent, ark::Error>> + Unpin,
    ) -> Result<()> {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.round_feed.publish(event),
                Err(error @ ark::Error::Malformed(_)) => {
                    tracing::warn!(%error, "a round event makes no sense; it is passed over");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Asks for the newest round event, in case the stream lies or has not begun.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub async fn ask_for_rounds(&self) -> Result<()> {
        match self.server.last_round_event().await? {
            Some(event) => self.round_feed.publish(event),
            None => self.round_feed.nothing_yet(),
        }
        Ok(())
    }

    /// Resolves when a round begins that the wallet has not seen begin before.
    pub async fn next_attempt(&self, seen: &mut Option<u64>) {
        let mut news = self.round_feed.subscribe();
        loop {
            let begun = match news.borrow_and_update().latest.as_deref() {
                Some(RoundEvent::Attempt(event)) if event.attempt_seq == 0 => {
                    Some(event.round_seq.inner())
                }
                _ => None,
            };
            if begun.is_some() && begun != *seen {
                *seen = begun;
                return;
            }
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_lib::rounds::{Challenge, RoundAttempt, RoundFailed, RoundSeq};

    fn attempt(round: u64, attempt_seq: usize) -> RoundEvent {
        RoundEvent::Attempt(RoundAttempt {
            round_seq: RoundSeq::new(round),
            attempt_seq,
            challenge: Challenge::generate(),
        })
    }

    fn failed(round: u64) -> RoundEvent {
        RoundEvent::Failed(RoundFailed {
            round_seq: RoundSeq::new(round),
        })
    }

    #[test]
    fn the_feed_never_goes_back() {
        let feed = RoundFeed::new();
        let latest = || feed.news().latest.map(|event| order(&event));
        assert!(!feed.news().heard);
        feed.nothing_yet();
        assert!(feed.news().heard && latest().is_none());
        for event in [attempt(7, 0), attempt(7, 1), failed(7)] {
            let place = order(&event);
            feed.publish(event);
            assert_eq!(latest(), Some(place));
        }
        feed.publish(attempt(7, 2));
        feed.publish(attempt(6, 0));
        assert_eq!(latest(), Some(order(&failed(7))));
        feed.publish(attempt(8, 0));
        assert_eq!(latest(), Some((8, 0, 0)));
    }
}
