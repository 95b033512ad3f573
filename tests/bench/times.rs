//! Times of many requests.

use std::time::Duration;

/// In milliseconds: the median, and what 95 and 99 of 100 stay below.
pub struct Times {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Times {
    /// Of at least one time.
    pub fn of(mut times: Vec<Duration>) -> Times {
        times.sort();
        let rank = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
        Times {
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
        }
    }
}
