//! What one connection is doing: whether it waits for its client, and since when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::limits::Limits;

/// The state of one connection, which its socket and its requests report.
pub(super) struct Activity {
    state: Mutex<State>,
    /// Cancelled to close the connection.
    closed: CancellationToken,
}

struct State {
    /// Requests whose answers are not complete.
    requests: usize,
    /// Those of them whose bodies have not arrived.
    incomplete: usize,
    /// Whether it carries something else than HTTP now: a websocket.
    upgraded: bool,
    /// Whether it speaks HTTP/2, where bytes do not mean that a request has begun.
    is_http2: bool,
    /// When it began to wait for its client; without meaning while the daemon is at work on it.
    waiting_since: Instant,
    /// When the first byte of the next request arrived. A new connection counts as one whose request has begun.
    head_since: Option<Instant>,
    /// When the client stopped to take what is sent.
    blocked_since: Option<Instant>,
}

impl State {
    fn waits(&self) -> bool {
        !self.upgraded && self.requests == self.incomplete
    }

    /// Since when it waits for its client; `None` while the daemon is at work on it.
    fn waits_since(&self) -> Option<Instant> {
        let for_request = self.waits().then_some(self.waiting_since);
        self.blocked_since.or(for_request)
    }

    fn is_overdue(&self, limits: &Limits, now: Instant) -> bool {
        let longer = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since) > limit)
        };
        let without_request = self.waits() && self.requests == 0;
        longer(self.blocked_since, limits.client)
            || without_request
                && (longer(self.head_since, limits.client)
                    || longer(Some(self.waiting_since), limits.idle))
    }
}

impl Activity {
    /// A new connection, which waits for the first request.
    pub(super) fn new() -> Activity {
        let now = Instant::now();
        Activity {
            state: Mutex::new(State {
                requests: 0,
                incomplete: 0,
                upgraded: false,
                is_http2: false,
                waiting_since: now,
                head_since: Some(now),
                blocked_since: None,
            }),
            closed: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let waited = state.waits();
        change(&mut state);
        if !waited && state.waits() {
            state.waiting_since = Instant::now();
        }
    }

    /// A request has begun. It ends with [`end_request`](Self::end_request).
    pub(super) fn begin_request(&self, is_http2: bool) {
        self.change(|state| {
            state.requests += 1;
            state.is_http2 = is_http2;
            state.head_since = None;
        });
    }

    /// A request is answered, or given up.
    pub(super) fn end_request(&self) {
        self.change(|state| state.requests -= 1);
    }

    /// A request waits for the rest of its body.
    pub(super) fn begin_body(&self) {
        self.change(|state| state.incomplete += 1);
    }

    /// The body has arrived, or is not wanted any more.
    pub(super) fn end_body(&self) {
        self.change(|state| state.incomplete -= 1);
    }

    /// The connection carries a websocket from now on.
    pub(super) fn upgrade(&self) {
        self.change(|state| state.upgraded = true);
    }

    /// Bytes have arrived.
    pub(super) fn received(&self) {
        let mut state = self.state();
        if state.requests == 0 && !state.is_http2 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// The client takes nothing at the moment.
    pub(super) fn blocked(&self) {
        let mut state = self.state();
        state.blocked_since.get_or_insert_with(Instant::now);
    }

    /// The client has taken something.
    pub(super) fn sent(&self) {
        self.state().blocked_since = None;
    }

    /// Closes the connection.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Cancelled when the connection has to close.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Since when it waits for its client; `None` while the daemon is at work on it.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.state().waits_since()
    }

    /// Whether its client has taken longer than allowed.
    pub(super) fn is_overdue(&self, limits: &Limits, now: Instant) -> bool {
        self.state().is_overdue(limits, now)
    }

    /// Whether it has no request and is no websocket.
    pub(super) fn is_without_request(&self) -> bool {
        let state = self.state();
        state.requests == 0 && !state.upgraded
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 1,
        idle: Duration::from_secs(75),
        client: Duration::from_secs(30),
    };

    fn overdue_after(activity: &Activity, seconds: u64) -> bool {
        activity.is_overdue(&LIMITS, Instant::now() + Duration::from_secs(seconds))
    }

    #[test]
    fn a_request_must_begin_and_a_connection_between_requests_may_idle() {
        let activity = Activity::new();
        assert!(!overdue_after(&activity, 29) && overdue_after(&activity, 31));
        activity.begin_request(false);
        activity.end_request();
        assert!(!overdue_after(&activity, 74) && overdue_after(&activity, 76));
        activity.received();
        assert!(!overdue_after(&activity, 29) && overdue_after(&activity, 31));
    }

    #[test]
    fn only_a_connection_that_waits_for_its_client_is_overdue() {
        let activity = Activity::new();
        activity.begin_request(false);
        assert!(activity.waits_since().is_none() && !overdue_after(&activity, 10_000));
        activity.begin_body();
        assert!(activity.waits_since().is_some());
        activity.end_body();
        assert!(activity.waits_since().is_none());
        activity.blocked();
        assert!(activity.waits_since().is_some() && overdue_after(&activity, 31));
        activity.sent();
        assert!(!overdue_after(&activity, 10_000));
    }

    #[test]
    fn a_websocket_may_be_silent_and_must_be_read() {
        let activity = Activity::new();
        activity.begin_request(false);
        activity.upgrade();
        activity.end_request();
        activity.received();
        assert!(activity.waits_since().is_none() && !overdue_after(&activity, 10_000));
        activity.blocked();
        assert!(overdue_after(&activity, 31));
    }

    #[test]
    fn bytes_of_http2_do_not_begin_a_request() {
        let activity = Activity::new();
        activity.begin_request(true);
        activity.end_request();
        activity.received();
        assert!(!overdue_after(&activity, 74) && overdue_after(&activity, 76));
    }
}
