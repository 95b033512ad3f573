//! Events: what happened, in the order in which it became durable (docs/protocol.md §26.1).

use std::fmt;
use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The number of an event. The events of a wallet have the numbers from 1, without gaps, in the order of the commits that wrote them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventId(pub u64);

impl EventId {
    /// The number of the next event.
    pub fn next(self) -> EventId {
        EventId(self.0 + 1)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A movement was written.
    MovementCreated,
    /// A movement was changed, its metadata included.
    MovementUpdated,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; 2] = [EventKind::MovementCreated, EventKind::MovementUpdated];

    /// The name of the kind in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::MovementCreated => "movement-created",
            EventKind::MovementUpdated => "movement-updated",
        }
    }

    /// The kind with this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happened.
#[derive(Debug)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// When it was written; later than every earlier event, even if the clock was set back.
    pub stamp: DateTime<Utc>,
    /// What happened.
    pub kind: EventKind,
    /// The id of the movement.
    pub subject: String,
    /// JSON of the subject as it was when it happened, e.g. of a [`Movement`](super::Movement).
    pub body: String,
    rendered: OnceLock<String>,
}

impl Event {
    /// An event.
    pub fn new(
        id: EventId,
        stamp: DateTime<Utc>,
        kind: EventKind,
        subject: String,
        body: String,
    ) -> Event {
        Event {
            id,
            stamp,
            kind,
            subject,
            body,
            rendered: OnceLock::new(),
        }
    }

    /// The text that the first caller made of the event. All readers of an event share it.
    pub fn rendered(&self, render: impl FnOnce(&Event) -> String) -> &str {
        self.rendered.get_or_init(|| render(self))
    }
}
