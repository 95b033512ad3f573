//! The newest events in memory, so that many readers of the same events do not read the database each.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::model::{Event, EventId};

/// The most events that are kept.
const MAX_EVENTS: usize = 2048;
/// The most bytes of their bodies.
const MAX_BYTES: usize = 4 << 20;

/// The newest events, and the number of the newest one.
pub(super) struct Outbox {
    tail: RwLock<Tail>,
    newest: watch::Sender<EventId>,
}

#[derive(Default)]
struct Tail {
    /// Without gaps, up to the newest event.
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    newest: EventId,
}

impl Outbox {
    /// The outbox of a database whose newest event this is.
    pub(super) fn new(newest: EventId) -> Outbox {
        Outbox {
            tail: RwLock::new(Tail {
                newest,
                ..Tail::default()
            }),
            newest: watch::Sender::new(newest),
        }
    }

    /// Adds the events of a durable commit, and wakes the readers.
    pub(super) fn publish(&self, events: Vec<Event>) {
        let newest = {
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            for event in events {
                tail.push(event);
            }
            tail.newest
        };
        self.newest.send_replace(newest);
    }

    /// The number of the newest durable event. A reader that subscribes before it reads misses none.
    pub(super) fn newest(&self) -> watch::Receiver<EventId> {
        self.newest.subscribe()
    }

    /// The events that follow `cursor`, oldest first, at most `limit`; `None` when the database has to be read for them.
    pub(super) fn after(&self, cursor: EventId, limit: usize) -> Option<Vec<Arc<Event>>> {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        if cursor >= tail.newest {
            return Some(Vec::new());
        }
        let first = tail.events.front()?.id;
        let known = usize::try_from(cursor.next().0.checked_sub(first.0)?).ok()?;
        let events = tail.events.iter().skip(known).take(limit);
        Some(events.map(Arc::clone).collect())
    }
}

impl Tail {
    fn push(&mut self, event: Event) {
        self.newest = event.id;
        self.bytes += event.body.len();
        self.events.push_back(Arc::new(event));
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.body.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::model::EventKind;

    fn event(id: u64, size: usize) -> Event {
        let kind = EventKind::MovementCreated;
        Event::new(EventId(id), Utc::now(), kind, "x".repeat(size))
    }

    fn read(outbox: &Outbox, cursor: u64, limit: usize) -> Option<Vec<u64>> {
        let events = outbox.after(EventId(cursor), limit)?;
        Some(events.iter().map(|event| event.id.0).collect())
    }

    #[test]
    fn a_reader_gets_what_follows_its_cursor() {
        let outbox = Outbox::new(EventId(7));
        assert_eq!(read(&outbox, 7, 10), Some(vec![]));
        assert_eq!(
            read(&outbox, 6, 10),
            None,
            "event 7 is in the database only"
        );
        outbox.publish(vec![event(8, 1), event(9, 1), event(10, 1)]);
        assert_eq!(*outbox.newest().borrow(), EventId(10));
        assert_eq!(read(&outbox, 7, 10), Some(vec![8, 9, 10]));
        assert_eq!(read(&outbox, 8, 1), Some(vec![9]));
        assert_eq!(read(&outbox, 10, 10), Some(vec![]));
        assert_eq!(read(&outbox, 6, 10), None);
    }

    #[test]
    fn the_memory_is_bounded_in_events_and_in_bytes() {
        let outbox = Outbox::new(EventId(0));
        outbox.publish((1..=5000).map(|id| event(id, 1)).collect());
        assert_eq!(read(&outbox, 2951, 1), None);
        assert_eq!(read(&outbox, 2952, 1), Some(vec![2953]));
        outbox.publish((5001..=5010).map(|id| event(id, 1 << 20)).collect());
        assert_eq!(read(&outbox, 5006, 10), Some(vec![5007, 5008, 5009, 5010]));
        assert_eq!(read(&outbox, 5005, 10), None);
        outbox.publish(vec![event(5011, 5 << 20)]);
        assert_eq!(read(&outbox, 5010, 10), None, "larger than the bound");
    }
}
