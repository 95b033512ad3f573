//! The outbox: what happened to the wallet, in the order of the commits (docs/protocol.md §26.1).
//!
//! The store writes an event in the transaction that makes the thing happen, and shows it once that is durable. A reader keeps the number
//! of the last event that it has processed as its cursor, and asks for what follows. To miss nothing, it subscribes with
//! [`Wallet::newest_event`] before it asks.

mod reader;
mod tell;

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use tokio::sync::watch;

use crate::model::{Event, EventId};
use crate::store::event;
use crate::wallet::{Result, Wallet};

pub(in crate::wallet) use reader::ahead;
pub use reader::{EventPage, EventReader, EventStart};

/// The most events that one transaction deletes, so that no payment waits for it.
const PRUNED_AT_ONCE: u64 = 500;

impl Wallet {
    /// The number of the newest event that is durable; 0 while there is none.
    pub fn newest_event(&self) -> watch::Receiver<EventId> {
        self.store.newest_event()
    }

    /// The events that follow `cursor`, oldest first, at most `limit`. If the first one is not the next one, those between were pruned.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn events_after(&self, cursor: EventId, limit: usize) -> Result<Vec<Arc<Event>>> {
        Ok(self.store.events_after(cursor, limit).await?)
    }

    /// Deletes a few events that are older, or more, than the settings keep. Returns whether there may be more of them.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn prune_events(&self) -> Result<bool> {
        let days = TimeDelta::try_days(self.settings.event_retention_days.into());
        let oldest = days.and_then(|days| Utc::now().checked_sub_signed(days));
        let (oldest, rows) = (
            oldest.unwrap_or_default(),
            self.settings.event_retention_rows,
        );
        let pruned = self
            .store
            .write(move |tx| event::prune(tx, oldest, rows, PRUNED_AT_ONCE));
        Ok(pruned.await? as u64 == PRUNED_AT_ONCE)
    }
}
