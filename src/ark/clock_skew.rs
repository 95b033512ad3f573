//! The difference between the clock of the Ark server and that of this machine, from the `Date` of the server's answers (H58).

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use server_rpc::tonic::metadata::MetadataMap;

/// Before the first measurement.
const UNKNOWN: i64 = i64::MIN;

/// The last measurement.
pub(super) struct ClockSkew(AtomicI64);

impl Default for ClockSkew {
    fn default() -> ClockSkew {
        ClockSkew(AtomicI64::new(UNKNOWN))
    }
}

impl ClockSkew {
    /// Takes the time from an answer to a request that was sent at `asked`. The time on the wire counts as no skew. An answer without a
    /// readable `Date` changes nothing.
    pub(super) fn measure(&self, answer: &MetadataMap, asked: DateTime<Utc>) {
        let date = answer.get("date").and_then(|date| date.to_str().ok());
        let server = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        if let Some(server) = server {
            let skew = skew(
                server.timestamp(),
                asked.timestamp(),
                Utc::now().timestamp(),
            );
            self.0.store(skew, Ordering::Relaxed);
        }
    }

    /// The server's clock minus ours, in seconds.
    pub(super) fn last(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN)
    }
}

/// How far the server's time is outside of the time of the request, in seconds.
fn skew(server: i64, asked: i64, answered: i64) -> i64 {
    if server < asked {
        server - asked
    } else {
        (server - answered).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_within_the_request_is_no_skew() {
        assert_eq!(skew(100, 99, 103), 0);
        assert_eq!(skew(90, 99, 103), -9);
        assert_eq!(skew(130, 99, 103), 27);
    }

    #[test]
    fn the_date_of_http_is_read() {
        let (skew, mut answer) = (ClockSkew::default(), MetadataMap::new());
        skew.measure(&answer, Utc::now());
        assert_eq!(skew.last(), None);
        let late = Utc::now() + chrono::TimeDelta::seconds(60);
        let date = late.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        answer.insert("date", date.parse().unwrap());
        skew.measure(&answer, Utc::now());
        assert!(matches!(skew.last(), Some(58..=60)), "{:?}", skew.last());
    }
}
