//! The time limit of requests to a chain backend.

use std::time::Duration;

/// The longest that a request to a backend may take, retries included.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The error text for a request that reached the limit.
pub(super) fn timed_out() -> String {
    format!("no answer within {} seconds", CALL_TIMEOUT.as_secs())
}
