//! When rounds happen and how long they wait, changeable while the server runs.

use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::super::params::Params;

/// The timing of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundConfig {
    /// Time in which the clients can join.
    pub submit_time: Duration,
    /// Time in which the clients can sign.
    pub sign_time: Duration,
    /// Time between the starts of two rounds.
    pub interval: Duration,
    /// Number of interactive participants after which a round waits for no more.
    pub participants: Option<usize>,
}

/// Some changes of a [`RoundConfig`]; what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoundConfigChange {
    /// Milliseconds in which the clients can join.
    pub submit_ms: Option<u64>,
    /// Milliseconds in which the clients can sign.
    pub sign_ms: Option<u64>,
    /// Seconds between the starts of two rounds.
    pub interval_s: Option<u64>,
    /// Number of interactive participants to wait for; 0 waits out the time again.
    pub expect_participants: Option<usize>,
}

impl From<&Params> for RoundConfig {
    fn from(params: &Params) -> RoundConfig {
        RoundConfig {
            submit_time: params.round_submit_time,
            sign_time: params.round_sign_time,
            interval: params.round_interval,
            participants: params.round_participants,
        }
    }
}

impl RoundConfig {
    pub(super) fn changed_by(self, change: RoundConfigChange) -> anyhow::Result<RoundConfig> {
        ensure!(change.interval_s != Some(0), "interval_s must not be zero");
        Ok(RoundConfig {
            submit_time: change
                .submit_ms
                .map_or(self.submit_time, Duration::from_millis),
            sign_time: change.sign_ms.map_or(self.sign_time, Duration::from_millis),
            interval: change.interval_s.map_or(self.interval, Duration::from_secs),
            participants: match change.expect_participants {
                None => self.participants,
                Some(0) => None,
                expected => expected,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays_and_zero_participants_means_any_number() {
        let config = RoundConfig::from(&Params::demo());
        let change: RoundConfigChange =
            serde_json::from_str(r#"{"submit_ms": 7, "expect_participants": 2}"#).unwrap();
        let changed = config.changed_by(change).unwrap();
        assert_eq!(changed.submit_time, Duration::from_millis(7));
        assert_eq!(changed.participants, Some(2));
        assert_eq!(changed.interval, config.interval);
        let any = RoundConfigChange {
            expect_participants: Some(0),
            ..RoundConfigChange::default()
        };
        assert_eq!(changed.changed_by(any).unwrap().participants, None);
        let never = RoundConfigChange {
            interval_s: Some(0),
            ..RoundConfigChange::default()
        };
        assert!(config.changed_by(never).is_err());
    }
}
