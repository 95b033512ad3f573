//! The wall clock in the unit of the database, unix milliseconds, and the pauses between tries.

use std::time::Duration;

use rand::Rng;

/// The current time, unix milliseconds.
pub(in crate::wallet) fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The time after `pause` from now, unix milliseconds.
pub(in crate::wallet) fn in_millis(pause: Duration) -> i64 {
    now_millis().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

/// The time until `moment` (unix milliseconds); zero when it is past.
pub(in crate::wallet) fn until(moment: i64) -> Duration {
    Duration::from_millis(u64::try_from(moment.saturating_sub(now_millis())).unwrap_or(0))
}

/// The pause after this many failures in a row: 1 s, 2 s, 4 s … up to `at_most` (and 17 minutes), of which a random part between one half and the
/// whole is taken.
pub(crate) fn back_off(failures: u32, at_most: Duration) -> Duration {
    let full = Duration::from_secs(1 << failures.min(10)).min(at_most);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}
