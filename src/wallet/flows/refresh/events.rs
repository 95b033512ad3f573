//! The server's round events, for the refreshes that wait for them.
//!
//! Only the newest event is kept. A refresh that misses one queries the result from the server.

use std::sync::Arc;

use ark_lib::rounds::RoundEvent;
use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::attempt_id::AttemptId;
use crate::ark;
use crate::wallet::{Error, Result, Wallet};

/// The newest round event. An older one never replaces it; only a restart of the server clears it.
pub(in crate::wallet) struct RoundEvents(watch::Sender<Observed>);

/// What is known of the server's rounds.
#[derive(Clone, Default)]
pub(in crate::wallet) struct Observed {
    /// Whether the server has answered since the start of the process. If not, a missing event means nothing.
    pub(super) answered: bool,
    /// The newest event.
    pub(super) latest: Option<Arc<RoundEvent>>,
}

impl RoundEvents {
    pub(in crate::wallet) fn new() -> RoundEvents {
        RoundEvents(watch::Sender::new(Observed::default()))
    }

    /// Changes with each event and each [`wake`](Self::wake).
    pub(in crate::wallet) fn subscribe(&self) -> watch::Receiver<Observed> {
        self.0.subscribe()
    }

    pub(super) fn observed(&self) -> Observed {
        self.0.borrow().clone()
    }

    /// Whether this attempt is under way, according to the newest event.
    pub(super) fn is_open(&self, attempt: AttemptId) -> bool {
        match self.0.borrow().latest.as_deref() {
            Some(RoundEvent::Finished(_)) | None => false,
            Some(event) => AttemptId::of(event) == Some(attempt),
        }
    }

    /// Stores an event, unless a later one is known.
    fn publish(&self, event: RoundEvent) {
        self.0.send_if_modified(|observed| {
            let newer = observed
                .latest
                .as_ref()
                .is_none_or(|latest| order(latest) < order(&event));
            let first = !std::mem::replace(&mut observed.answered, true);
            if newer {
                tracing::debug!(%event, "round event");
                observed.latest = Some(Arc::new(event));
            }
            newer || first
        });
    }

    /// Notes that the server has had no round since its start. Earlier events are void.
    fn publish_none(&self) {
        self.0.send_if_modified(|observed| {
            let cleared = observed.latest.take().is_some();
            !std::mem::replace(&mut observed.answered, true) || cleared
        });
    }

    /// Makes each waiting refresh take its step now.
    pub(in crate::wallet) fn wake(&self) {
        self.0.send_modify(|_| {});
    }
}

/// The position of an event in time. A failed round has no further attempt.
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
    /// When the server's next round starts, in unix seconds.
    ///
    /// # Errors
    /// `never_connected`, `server_unavailable`; `no_round` if the server has scheduled none.
    pub async fn next_round(&self) -> Result<u64> {
        self.server.first_contact().await;
        self.known_info()?;
        self.connected_info()?;
        match self.server.next_round_time().await {
            Ok(0) | Err(ark::Error::Rejected { .. }) => {
                let message = "the Ark server has scheduled no round; ask again later";
                Err(Error::no_such_thing("no_round", message))
            }
            answer => Ok(answer?),
        }
    }

    /// Opens the server's stream of round events.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub async fn open_rounds(
        &self,
    ) -> Result<impl Stream<Item = Result<RoundEvent, ark::Error>> + Send + use<>> {
        Ok(self.server.subscribe_rounds().await?)
    }

    /// Publishes the events of a stream until it ends.
    ///
    /// # Errors
    /// The error that ended the stream.
    pub async fn follow_rounds(
        &self,
        mut events: impl Stream<Item = Result<RoundEvent, ark::Error>> + Unpin,
    ) -> Result<()> {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.round_events.publish(event),
                Err(error @ ark::Error::Malformed(_)) => {
                    tracing::warn!(%error, "malformed round event ignored");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Requests the newest round event, which finds events that the stream did not deliver.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub async fn ask_for_rounds(&self) -> Result<()> {
        match self.server.last_round_event().await? {
            Some(event) => self.round_events.publish(event),
            None => self.round_events.publish_none(),
        }
        Ok(())
    }

    /// Resolves when a round starts whose number is not in `seen`, and stores its number there.
    pub async fn wait_for_round_start(&self, seen: &mut Option<u64>) {
        let mut observed = self.round_events.subscribe();
        loop {
            let started = match observed.borrow_and_update().latest.as_deref() {
                Some(RoundEvent::Attempt(event)) if event.attempt_seq == 0 => {
                    Some(event.round_seq.inner())
                }
                _ => None,
            };
            if started.is_some() && started != *seen {
                *seen = started;
                return;
            }
            if observed.changed().await.is_err() {
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
    fn an_older_event_does_not_replace_a_newer_one() {
        let events = RoundEvents::new();
        let latest = || events.observed().latest.map(|event| order(&event));
        assert!(!events.observed().answered);
        events.publish_none();
        assert!(events.observed().answered && latest().is_none());
        for event in [attempt(7, 0), attempt(7, 1), failed(7)] {
            let position = order(&event);
            events.publish(event);
            assert_eq!(latest(), Some(position));
        }
        events.publish(attempt(7, 2));
        events.publish(attempt(6, 0));
        assert_eq!(latest(), Some(order(&failed(7))));
        events.publish(attempt(8, 0));
        assert_eq!(latest(), Some((8, 0, 0)));
    }
}
