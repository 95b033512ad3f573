//! A consumer's place in the outbox.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{Event, EventId};
use crate::store::event;
use crate::wallet::{Error, Result, Wallet};

/// Where a consumer starts to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStart {
    /// With what happens from now on.
    Now,
    /// After the event with this number.
    After(EventId),
    /// With what happened later than this.
    Since(DateTime<Utc>),
    /// With what happened in the time before now, as far as it is kept.
    Recent(TimeDelta),
}

/// What a consumer reads.
#[derive(Debug)]
pub enum EventPage {
    /// The next events, oldest first; at least one.
    Events(Vec<Arc<Event>>),
    /// The events up to this one were pruned before they were read.
    Pruned(EventId),
}

/// A consumer's place in the outbox. It takes no memory for events that are not read yet.
pub struct EventReader {
    wallet: Arc<Wallet>,
    cursor: EventId,
    newest: watch::Receiver<EventId>,
    closing: CancellationToken,
}

impl Wallet {
    /// Starts to read events.
    ///
    /// # Errors
    /// `cursor_ahead` for a number that no event has yet.
    pub async fn read_events(self: &Arc<Wallet>, start: EventStart) -> Result<EventReader> {
        // Subscribed before anything is read, so that no event falls between the two.
        let newest = self.newest_event();
        let now = *newest.borrow();
        let cursor = match start {
            EventStart::Now => now,
            EventStart::After(cursor) if cursor > now => return Err(ahead(cursor, now)),
            EventStart::After(cursor) => cursor,
            EventStart::Since(time) => self.cursor_at(time).await?.unwrap_or_default(),
            EventStart::Recent(period) => {
                let time = Utc::now().checked_sub_signed(period).unwrap_or_default();
                match self.cursor_at(time).await? {
                    Some(cursor) => cursor,
                    None => self.store.read(event::before_oldest).await?,
                }
            }
        };
        Ok(EventReader {
            wallet: Arc::clone(self),
            cursor,
            newest,
            closing: self.closing(),
        })
    }

    /// The newest event that is not later than `time`.
    async fn cursor_at(&self, time: DateTime<Utc>) -> Result<Option<EventId>> {
        let found = self
            .store
            .read(move |connection| event::at(connection, time));
        Ok(found.await?)
    }
}

/// The error about a cursor that is beyond the newest event.
pub(in crate::wallet) fn ahead(cursor: EventId, newest: EventId) -> Error {
    Error::bad_request(
        "cursor_ahead",
        format!(
            "there is no event {cursor} yet, the newest one is {newest}: the wallet is another one, or was restored from an older copy. Pass \
             after={newest}, or no cursor, and compare your books with GET /api/v1/history"
        ),
    )
}

impl EventReader {
    /// The last event that was read.
    pub fn cursor(&self) -> EventId {
        self.cursor
    }

    /// Whether it has read everything that had happened up to this event.
    pub fn has_reached(&self, event: EventId) -> bool {
        self.cursor >= event
    }

    /// Reads at most `limit` of the events that are there; `None` when there are no more.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn read(&mut self, limit: usize) -> Result<Option<EventPage>> {
        // What becomes newer from here on ends the next wait.
        if *self.newest.borrow_and_update() <= self.cursor {
            return Ok(None);
        }
        let events = self.wallet.events_after(self.cursor, limit).await?;
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(None);
        };
        if first.id > self.cursor.next() {
            self.cursor = EventId(first.id.0 - 1);
            return Ok(Some(EventPage::Pruned(self.cursor)));
        }
        self.cursor = last.id;
        Ok(Some(EventPage::Events(events)))
    }

    /// Waits until something has happened since the last [`read`](Self::read). False when the wallet is being closed.
    pub async fn wait(&mut self) -> bool {
        tokio::select! {
            changed = self.newest.changed() => changed.is_ok(),
            () = self.closing.cancelled() => false,
        }
    }

    /// Waits for events, and reads at most `limit` of them. `None` when the wallet is being closed. To stop waiting loses nothing.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn next(&mut self, limit: usize) -> Result<Option<EventPage>> {
        loop {
            if let Some(page) = self.read(limit).await? {
                return Ok(Some(page));
            }
            if !self.wait().await {
                return Ok(None);
            }
        }
    }
}
