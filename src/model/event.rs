//! Events: what happened, in the order in which it became durable (docs/protocol.md §26.1).

use std::fmt;
use std::sync::OnceLock;

use ark_lib::VtxoId;
use bitcoin::Amount;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{MovementId, OperationId};

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
    /// An operation has begun, has taken a step, or has ended.
    OperationUpdated,
    /// Something waits for a decision of the operator.
    AttentionRaised,
    /// It does not wait any more.
    AttentionCleared,
    /// The Ark server is connected.
    ServerConnected,
    /// The Ark server is not connected any more.
    ServerDisconnected,
    /// The chain backend answers.
    ChainConnected,
    /// The chain backend does not answer any more.
    ChainLost,
    /// A VTXO expires soon.
    VtxoExpiring,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; 10] = [
        EventKind::MovementCreated,
        EventKind::MovementUpdated,
        EventKind::OperationUpdated,
        EventKind::AttentionRaised,
        EventKind::AttentionCleared,
        EventKind::ServerConnected,
        EventKind::ServerDisconnected,
        EventKind::ChainConnected,
        EventKind::ChainLost,
        EventKind::VtxoExpiring,
    ];

    /// The name of the kind in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::MovementCreated => "movement-created",
            EventKind::MovementUpdated => "movement-updated",
            EventKind::OperationUpdated => "operation-updated",
            EventKind::AttentionRaised => "attention-raised",
            EventKind::AttentionCleared => "attention-cleared",
            EventKind::ServerConnected => "server-connected",
            EventKind::ServerDisconnected => "server-disconnected",
            EventKind::ChainConnected => "chain-connected",
            EventKind::ChainLost => "chain-lost",
            EventKind::VtxoExpiring => "vtxo-expiring",
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
    /// JSON of what it is about, as that was when it happened: of a [`Movement`](super::Movement), an [`OperationProgress`], an
    /// [`Attention`](super::Attention), an [`ExpiringVtxo`], or `null`.
    pub body: String,
    rendered: OnceLock<String>,
}

impl Event {
    /// An event.
    pub fn new(id: EventId, stamp: DateTime<Utc>, kind: EventKind, body: String) -> Event {
        Event {
            id,
            stamp,
            kind,
            body,
            rendered: OnceLock::new(),
        }
    }

    /// The text that the first caller made of the event. All readers of an event share it.
    pub fn rendered(&self, render: impl FnOnce(&Event) -> String) -> &str {
        self.rendered.get_or_init(|| render(self))
    }
}

/// How far an operation is.
#[derive(Debug, Serialize, Deserialize)]
pub struct OperationProgress {
    /// Its id.
    pub id: OperationId,
    /// What it does: the name of an [`OperationKind`](super::OperationKind).
    pub kind: String,
    /// The name of its state.
    pub step: String,
    /// `done` or `failed`; `None` while it runs.
    pub outcome: Option<String>,
    /// Its movement, if it has one.
    pub movement: Option<MovementId>,
}

/// A VTXO that expires soon.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExpiringVtxo {
    /// Its id.
    pub id: VtxoId,
    /// Its value.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
    /// The height from which the Ark server can take it.
    pub expiry_height: u32,
}
