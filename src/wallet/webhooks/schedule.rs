//! When a failed event is tried again, and when a webhook is given up.

use std::time::Duration;

use crate::model::{Failing, Progress};
use crate::wallet::engine::clock;
use crate::webhook::Answer;

/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);
/// The longest pause that a receiver can ask for with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// A webhook is given up when one event has failed for so long, at least [`MIN_FAILURES`] times; milliseconds.
const GIVE_UP_AFTER: i64 = 72 * HOUR;
/// Tries before a webhook is given up, so that neither a clock that was set nor a daemon that was off ends it.
const MIN_FAILURES: u32 = 50;
const HOUR: i64 = 60 * 60 * 1000;
/// The status with which a receiver ends a webhook.
const GONE: u16 = 410;

/// How long the webhook's next event waits for its next try; `None` if it is due. A time beyond the longest pause comes from a clock that
/// was set back.
pub(super) fn remaining(progress: &Progress) -> Option<Duration> {
    let failing = progress.failing.as_ref()?;
    let pause = clock::until(failing.next_try_at);
    (!pause.is_zero() && pause <= MAX_RETRY_AFTER).then_some(pause)
}

/// Where a webhook is after a failed try.
pub(super) fn after_failure(progress: &Progress, answer: &Answer) -> Progress {
    let now = clock::now_millis();
    let failing = progress.failing.as_ref();
    let failures = failing.map_or(0, |failing| failing.failures);
    let since = failing.map_or(now, |failing| failing.since);
    let asked_for = answer.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    let failing = Failing {
        failures: failures.saturating_add(1),
        since,
        next_try_at: clock::in_millis(pause(failures).max(asked_for)),
        error: answer.error.clone().unwrap_or_default(),
    };
    let is_old = now.saturating_sub(since) >= GIVE_UP_AFTER;
    let is_given_up = is_old && failing.failures >= MIN_FAILURES || answer.status == Some(GONE);
    Progress {
        enabled: !is_given_up,
        cursor: progress.cursor,
        failing: Some(failing),
    }
}

/// The pause after this many earlier failures.
fn pause(failures: u32) -> Duration {
    clock::back_off(failures, MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventId;

    fn failed(status: Option<u16>, retry_after: Option<u64>) -> Answer {
        Answer {
            status,
            latency: Duration::ZERO,
            error: Some("it failed".to_owned()),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn failing(failures: u32, hours: i64) -> Progress {
        let now = clock::now_millis();
        Progress {
            failing: Some(Failing {
                failures,
                since: now - hours * HOUR,
                next_try_at: now,
                error: String::new(),
            }),
            ..Progress::at(EventId(7))
        }
    }

    #[test]
    fn pauses_grow_to_fifteen_minutes() {
        assert!((0.5..=1.0).contains(&pause(0).as_secs_f64()));
        for failures in 10..200 {
            assert!(pause(failures) >= MAX_PAUSE / 2 && pause(failures) <= MAX_PAUSE);
        }
        let tries_of_an_hour: Duration = (0..12).map(pause).sum();
        assert!(tries_of_an_hour < Duration::from_secs(3600));
        let least: Duration = (0..MIN_FAILURES).map(pause).sum();
        assert!(
            least < Duration::from_secs(24 * 60 * 60),
            "so many tries fit"
        );
    }

    #[test]
    fn a_failure_keeps_the_cursor_and_the_time_of_the_first() {
        let first = after_failure(&Progress::at(EventId(7)), &failed(Some(500), None));
        assert_eq!((first.enabled, first.cursor), (true, EventId(7)));
        let second = after_failure(&first, &failed(None, None));
        let (first, second) = (first.failing.unwrap(), second.failing.unwrap());
        assert_eq!((first.failures, second.failures), (1, 2));
        assert_eq!(first.since, second.since);
    }

    #[test]
    fn retry_after_counts_within_an_hour() {
        let pause = |seconds| {
            let after = after_failure(&failing(0, 0), &failed(Some(503), Some(seconds)));
            remaining(&after).unwrap().as_secs_f64()
        };
        assert!((119.0..=120.0).contains(&pause(120)));
        assert!((3599.0..=3600.0).contains(&pause(1_000_000)));
        assert!((0.4..=1.0).contains(&pause(0)));
    }

    #[test]
    fn a_webhook_is_given_up_after_72_hours_of_tries_or_by_410() {
        let is_enabled = |failures, hours, status| {
            after_failure(&failing(failures, hours), &failed(Some(status), None)).enabled
        };
        assert!(is_enabled(1_000, 71, 500));
        assert!(
            is_enabled(3, 500, 500),
            "the daemon was off, or the clock was set"
        );
        assert!(!is_enabled(100, 72, 500));
        assert!(!is_enabled(0, 0, 410));
    }

    #[test]
    fn a_try_in_the_far_future_is_due_now() {
        let mut progress = failing(1, 0);
        let set = |progress: &mut Progress, at| {
            progress.failing.as_mut().unwrap().next_try_at = clock::now_millis() + at;
            remaining(progress).is_some()
        };
        assert!(set(&mut progress, HOUR / 2));
        assert!(!set(&mut progress, -HOUR));
        assert!(!set(&mut progress, 1000 * HOUR), "the clock was set back");
        assert_eq!(remaining(&Progress::at(EventId(7))), None);
    }
}
