//! Events as clients see them: over long polls, web sockets, server-sent events and webhooks alike (docs/protocol.md §26).

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

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
        /// The number of the event.
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
    let (id, created_at) = (event.id.0, event.stamp);
    let movement = || {
        let movement: wallet::Movement = serde_json::from_str(&event.body)?;
        Ok(Box::new(movement.into()))
    };
    Ok(match event.kind {
        EventKind::MovementCreated => WalletNotification::MovementCreated {
            id,
            created_at,
            movement: movement()?,
        },
        EventKind::MovementUpdated => WalletNotification::MovementUpdated {
            id,
            created_at,
            movement: movement()?,
        },
    })
}
