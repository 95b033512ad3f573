//! The fee rates that the server has announced: clients may use one for a while after its last announcement.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bitcoin::FeeRate;
use tokio::time::Instant;

/// Announced fee rates, each with the time of its last announcement.
#[derive(Default)]
pub struct AnnouncedRates(Mutex<Vec<(FeeRate, Instant)>>);

impl AnnouncedRates {
    pub(super) fn note(&self, rate: FeeRate, now: Instant, validity: Duration) {
        let mut announced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        announced.retain(|(earlier, when)| *earlier != rate && now - *when < validity);
        announced.push((rate, now));
    }

    pub(super) fn holds(&self, rate: FeeRate, now: Instant, validity: Duration) -> bool {
        let announced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        announced
            .iter()
            .any(|(earlier, when)| *earlier == rate && now - *when < validity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_valid_for_a_while_after_its_last_announcement() {
        let rates = AnnouncedRates::default();
        let (one, two) = (
            FeeRate::from_sat_per_kwu(250),
            FeeRate::from_sat_per_kwu(500),
        );
        let start = Instant::now();
        let validity = Duration::from_secs(10);
        let at = |secs| start + Duration::from_secs(secs);
        rates.note(one, at(0), validity);
        rates.note(two, at(1), validity);
        rates.note(one, at(2), validity);
        assert!(rates.holds(one, at(11), validity));
        assert!(!rates.holds(two, at(11), validity));
        assert!(!rates.holds(FeeRate::from_sat_per_kwu(251), at(2), validity));
    }
}
