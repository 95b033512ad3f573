//! Events as clients see them: over long polls, web sockets, server-sent events and webhooks alike (docs/protocol.md §26).

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::attention::Attention;
use super::movement::Movement;
use crate::wallet::{self, Event, EventId, EventKind};

/// A notification of something that happened to the wallet
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::http) enum WalletNotification {
    /// A new movement was created
    MovementCreated {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
        /// The movement, as it was then.
        movement: Box<Movement>,
    },
    /// An existing movement was updated
    MovementUpdated {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
        /// The movement, as it was then.
        movement: Box<Movement>,
    },
    /// Some notifications were lost
    ChannelLagging {
        /// The number of the last lost event.
        #[schema(required = false)]
        id: u64,
    },
    /// An operation has begun, has taken a step, or has ended
    OperationUpdated {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
        /// The operation, as it was then.
        operation: Operation,
    },
    /// Something waits for a decision of the operator
    AttentionRaised {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
        /// What it is.
        attention: Attention,
    },
    /// It does not wait any more
    AttentionCleared {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
        /// What it is.
        attention: Attention,
    },
    /// The Ark server is connected
    ServerConnected {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
    },
    /// The Ark server is not connected any more
    ServerDisconnected {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
    },
    /// The chain source answers
    ChainConnected {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
    },
    /// The chain source does not answer any more
    ChainLost {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
    },
    /// A VTXO expires soon: the wallet refreshes it with the next others, or is about to
    VtxoExpiring {
        /// The number of the event. Events are numbered from 1, without gaps.
        #[schema(required = false)]
        id: u64,
        /// When it happened.
        #[schema(required = false)]
        created_at: DateTime<Utc>,
        /// The VTXO.
        vtxo: ExpiringVtxo,
    },
}

/// How far an operation is
#[derive(Serialize, ToSchema)]
#[schema(as = OperationProgress)]
pub(in crate::http) struct Operation {
    /// Its id, the `action_id` of the VTXOs that it holds.
    id: String,
    /// What it does, e.g. `arkoor_send`.
    kind: String,
    /// What it does next, e.g. `Sign`. Other releases may have other steps.
    step: String,
    /// `running`, `done` or `failed`.
    status: String,
    /// Its movement, if it has one.
    movement_id: Option<u32>,
}

/// A VTXO that expires soon
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExpiringVtxo {
    /// Its id.
    id: String,
    /// Its value, in satoshis.
    amount_sat: u64,
    /// From this height the Ark server can take it.
    expiry_height: u32,
}

/// The JSON of an event. It is made once for all clients.
pub(crate) fn json(event: &Event) -> &str {
    event.rendered(|event| {
        let text = notification(event).and_then(|shown| serde_json::to_string(&shown));
        text.unwrap_or_else(|error| {
            tracing::error!(event = %event.id, %error, "a stored event cannot be read; its readers are told that it is lost");
            lagging(event.id)
        })
    })
}

/// The JSON that tells a client that the events up to this one were pruned before it read them.
pub(in crate::http) fn lagging(last: EventId) -> String {
    let lagging = WalletNotification::ChannelLagging { id: last.0 };
    serde_json::to_string(&lagging).expect("a text and a number are JSON")
}

fn notification(event: &Event) -> serde_json::Result<WalletNotification> {
    use WalletNotification as Shown;
    let (id, created_at) = (event.id.0, event.stamp);
    let movement = || body::<wallet::Movement>(event).map(|movement| Box::new(movement.into()));
    let attention = || body::<wallet::Attention>(event).map(Attention::from);
    #[rustfmt::skip]
    let shown = match event.kind {
        EventKind::MovementCreated => Shown::MovementCreated { id, created_at, movement: movement()? },
        EventKind::MovementUpdated => Shown::MovementUpdated { id, created_at, movement: movement()? },
        EventKind::OperationUpdated => Shown::OperationUpdated { id, created_at, operation: body::<wallet::OperationProgress>(event)?.into() },
        EventKind::AttentionRaised => Shown::AttentionRaised { id, created_at, attention: attention()? },
        EventKind::AttentionCleared => Shown::AttentionCleared { id, created_at, attention: attention()? },
        EventKind::ServerConnected => Shown::ServerConnected { id, created_at },
        EventKind::ServerDisconnected => Shown::ServerDisconnected { id, created_at },
        EventKind::ChainConnected => Shown::ChainConnected { id, created_at },
        EventKind::ChainLost => Shown::ChainLost { id, created_at },
        EventKind::VtxoExpiring => Shown::VtxoExpiring { id, created_at, vtxo: body::<wallet::ExpiringVtxo>(event)?.into() },
    };
    Ok(shown)
}

fn body<T: DeserializeOwned>(event: &Event) -> serde_json::Result<T> {
    serde_json::from_str(&event.body)
}

impl From<wallet::OperationProgress> for Operation {
    fn from(operation: wallet::OperationProgress) -> Self {
        Self {
            id: operation.id.to_string(),
            kind: operation.kind,
            step: operation.step,
            status: operation.outcome.unwrap_or_else(|| "running".to_owned()),
            movement_id: operation.movement.map(|id| id.0),
        }
    }
}

impl From<wallet::ExpiringVtxo> for ExpiringVtxo {
    fn from(vtxo: wallet::ExpiringVtxo) -> Self {
        Self {
            id: vtxo.id.to_string(),
            amount_sat: vtxo.amount.to_sat(),
            expiry_height: vtxo.expiry_height,
        }
    }
}
