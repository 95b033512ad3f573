//! The events of rounds (docs/protocol.md §31.4).

use std::sync::{Mutex, PoisonError};

use ark_lib::rounds::RoundEvent;
use server_rpc::protos;
use tokio::sync::broadcast;

/// Number of events that a subscriber may lag behind before it is disconnected.
const BACKLOG: usize = 64;

/// The latest event, and the channel to the subscribers.
pub struct Events {
    live: broadcast::Sender<protos::RoundEvent>,
    last: Mutex<Option<protos::RoundEvent>>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            live: broadcast::Sender::new(BACKLOG),
            last: Mutex::default(),
        }
    }
}

impl Events {
    /// Sends an event to all subscribers.
    pub fn publish(&self, event: &RoundEvent) {
        let event = protos::RoundEvent::from(event);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails if there is no subscriber, which is fine.
        let _ = self.live.send(event.clone());
        *last = Some(event);
    }

    /// Whether there is a subscriber.
    pub fn has_subscribers(&self) -> bool {
        self.live.receiver_count() > 0
    }

    pub(super) fn last(&self) -> Option<protos::RoundEvent> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The latest event, and a channel of those after it.
    pub(super) fn subscribe(
        &self,
    ) -> (
        Option<protos::RoundEvent>,
        broadcast::Receiver<protos::RoundEvent>,
    ) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.clone(), self.live.subscribe())
    }
}
