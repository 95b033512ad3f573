//! The wall clock, in the unit that the database keeps: unix milliseconds.

use std::time::Duration;

/// Now.
pub(super) fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The moment that comes after `pause`.
pub(super) fn in_millis(pause: Duration) -> i64 {
    now_millis().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

/// How long it is until a moment; zero when it is past.
pub(super) fn until(moment: i64) -> Duration {
    Duration::from_millis(u64::try_from(moment.saturating_sub(now_millis())).unwrap_or(0))
}
