//! What every loop does about failures: one log line when they begin, one when they end, and a growing pause in between.

use std::time::Duration;

use crate::wallet::{self, Result};

/// The longest pause of a loop that keeps failing.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// Logs when a task begins to fail and when it works again, but not each failure in between.
pub(super) struct FailureLog {
    /// What the task does, as the log names it.
    task: &'static str,
    failing: bool,
}

impl FailureLog {
    pub(super) fn new(task: &'static str) -> FailureLog {
        FailureLog {
            task,
            failing: false,
        }
    }

    /// Takes note of one run; returns its value, or `None` if it failed.
    pub(super) fn record<T>(&mut self, result: Result<T>) -> Option<T> {
        let (task, was_failing) = (self.task, self.failing);
        self.failing = result.is_err();
        match result {
            Ok(value) => {
                if was_failing {
                    tracing::info!(task, "background task works again");
                }
                Some(value)
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(task, ?error, "background task fails; retrying");
                }
                None
            }
        }
    }
}

/// The pause after this many failures in a row.
pub(super) fn back_off(failures: u32) -> Duration {
    wallet::back_off(failures, MAX_BACK_OFF)
}
