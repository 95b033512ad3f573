//! What one connection is doing: whether it waits for its client, and since when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::{
    CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned,
};

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

    /// A request has begun. It ends with [`end_request`](Self::end_request). False if the connection is being closed: the request must
    /// not be carried out, because its answer would be lost.
    pub(super) fn begin_request(&self, is_http2: bool) -> bool {
        let mut state = self.state();
        state.requests += 1;
        state.is_http2 = is_http2;
        state.head_since = None;
        !self.closed.is_cancelled()
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

    /// Closes the connection if it has waited for its client since then.
    pub(super) fn close_if_waiting(&self, since: Instant) {
        let state = self.state();
        if state.waits_since() == Some(since) {
            self.closed.cancel();
        }
    }

    /// Closes the connection if its client has taken longer than allowed.
    pub(super) fn close_if_overdue(&self, limits: &Limits, now: Instant) {
        let state = self.state();
        if state.is_overdue(limits, now) {
            self.closed.cancel();
        }
    }

    /// Closes the connection if it has no request and is no websocket.
    pub(super) fn close_without_request(&self) {
        let state = self.state();
        if state.requests == 0 && !state.upgraded {
            self.closed.cancel();
        }
    }

    /// Resolves when the connection has to close.
    pub(super) fn closed(&self) -> WaitForCancellationFuture<'_> {
        self.closed.cancelled()
    }

    /// As [`closed`](Self::closed).
    pub(super) fn closed_owned(&self) -> WaitForCancellationFutureOwned {
        self.closed.clone().cancelled_owned()
    }

    /// Whether the connection is about to end. That of a websocket ends when its owner looks at it.
    pub(super) fn is_closing(&self) -> bool {
        self.closed.is_cancelled() && !self.state().upgraded
    }

    /// Since when it waits for its client; `None` while the daemon is at work on it.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.state().waits_since()
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
        let later = Instant::now() + Duration::from_secs(seconds);
        activity.state().is_overdue(&LIMITS, later)
    }

    #[test]
    fn a_request_must_begin_and_a_connection_between_requests_may_idle() {
        let activity = Activity::new();
        assert!(!overdue_after(&activity, 29) && overdue_after(&activity, 31));
        assert!(activity.begin_request(false));
        activity.end_request();
        assert!(!overdue_after(&activity, 74) && overdue_after(&activity, 76));
        activity.received();
        assert!(!overdue_after(&activity, 29) && overdue_after(&activity, 31));
    }

    #[test]
    fn only_a_connection_that_waits_for_its_client_is_overdue() {
        let activity = Activity::new();
        assert!(activity.begin_request(false));
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
        assert!(activity.begin_request(false));
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
        assert!(activity.begin_request(true));
        activity.end_request();
        activity.received();
        assert!(!overdue_after(&activity, 74) && overdue_after(&activity, 76));
    }

    #[test]
    fn a_request_on_a_connection_that_closes_is_not_carried_out() {
        let activity = Activity::new();
        let since = activity.waits_since().expect("it waits for a request");
        activity.close_if_waiting(since);
        assert!(activity.is_closing() && !activity.begin_request(false));
        let busy = Activity::new();
        let since = busy.waits_since().expect("it waits for a request");
        assert!(busy.begin_request(false));
        busy.close_if_waiting(since);
        assert!(!busy.is_closing());
    }
}
