//! The open connections: their number is bounded, and those that keep the daemon waiting are closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::activity::Activity;
use super::limits::Limits;

/// How long a connection waits for its client at least before it is closed for another one: a client that has just connected gets the
/// time to send its request.
const LEAST_WAIT: Duration = Duration::from_millis(500);
/// How often a full listener looks for a connection to close.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// All open connections of a listener.
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    limits: Limits,
    open: Mutex<Open>,
    /// Notified when a connection has ended.
    ended: Notify,
}

#[derive(Default)]
struct Open {
    last: u64,
    activities: HashMap<u64, Arc<Activity>>,
}

/// The place of one connection among the open ones, free again when it is dropped.
pub(super) struct Slot {
    connections: Arc<Shared>,
    number: u64,
    activity: Arc<Activity>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Connections {
        Connections(Arc::new(Shared {
            limits,
            open: Mutex::default(),
            ended: Notify::new(),
        }))
    }

    /// The limits that it keeps.
    pub(super) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// A place for a connection. At the maximum, it closes the connection that has waited longest for its client, and waits for its
    /// place.
    pub(super) async fn slot(&self) -> Slot {
        loop {
            if let Some(slot) = self.free_slot() {
                return slot;
            }
            self.close_longest_waiting();
            // A connection may begin to wait for its client at any time.
            let _ = tokio::time::timeout(POLL_INTERVAL, self.0.ended.notified()).await;
        }
    }

    fn free_slot(&self) -> Option<Slot> {
        let mut open = self.0.open();
        if open.activities.len() >= self.0.limits.connections {
            return None;
        }
        open.last += 1;
        let slot = Slot {
            connections: Arc::clone(&self.0),
            number: open.last,
            activity: Arc::new(Activity::new()),
        };
        open.activities
            .insert(slot.number, Arc::clone(&slot.activity));
        Some(slot)
    }

    /// Closes the connection that has waited longest for its client. Does nothing if none has waited for [`LEAST_WAIT`], or one is
    /// being closed already.
    pub(super) fn close_longest_waiting(&self) {
        let open = self.0.open();
        let all = open.activities.values();
        if all.clone().any(|activity| activity.is_closing()) {
            return;
        }
        let waiting = all.filter_map(|activity| Some((activity.waits_since()?, activity)));
        if let Some((since, activity)) = waiting.min_by_key(|(since, _)| *since)
            && since.elapsed() >= LEAST_WAIT
        {
            activity.close_if_waiting(since);
        }
    }

    /// Closes the connections whose clients have taken longer than allowed.
    pub(super) fn close_overdue(&self) {
        let now = Instant::now();
        for activity in self.0.open().activities.values() {
            activity.close_if_overdue(&self.0.limits, now);
        }
    }

    /// Closes the connections on which no request is in progress.
    pub(super) fn close_without_request(&self) {
        for activity in self.0.open().activities.values() {
            activity.close_without_request();
        }
    }

    /// Resolves when no connection is open, that of a websocket included. To be called while nobody waits for a [`slot`](Self::slot).
    pub(super) async fn all_ended(&self) {
        while !self.0.open().activities.is_empty() {
            self.0.ended.notified().await;
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// What its connection is doing.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open().activities.remove(&self.number);
        self.connections.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize) -> Connections {
        Connections::new(Limits {
            connections: most,
            ..Limits::default()
        })
    }

    fn is_closed(slot: &Slot) -> bool {
        slot.activity.is_closing()
    }

    #[tokio::test]
    async fn the_connection_that_has_waited_longest_is_closed() {
        let connections = connections(3);
        let (busy, first, second) = (
            connections.slot().await,
            connections.slot().await,
            connections.slot().await,
        );
        assert!(busy.activity.begin_request(false));
        connections.close_longest_waiting();
        assert!(!is_closed(&first), "it may still send its request");
        tokio::time::sleep(LEAST_WAIT).await;
        connections.close_longest_waiting();
        connections.close_longest_waiting();
        assert!(is_closed(&first) && !is_closed(&second) && !is_closed(&busy));
        drop(first);
        connections.slot().await;
    }

    #[tokio::test]
    async fn at_the_maximum_a_client_waits_while_all_connections_are_at_work() {
        let connections = connections(1);
        let busy = connections.slot().await;
        assert!(busy.activity.begin_request(false));
        let patience = LEAST_WAIT + Duration::from_millis(100);
        let next = tokio::time::timeout(patience, connections.slot()).await;
        assert!(next.is_err() && !is_closed(&busy));
        drop(busy);
        connections.slot().await;
    }
}
