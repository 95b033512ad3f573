//! The fee rates that clients may use because the server has told them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bitcoin::FeeRate;
use tokio::time::Instant;

use super::super::state::Ark;
use super::super::status::RpcError;

/// Fee rates and when they were told last.
#[derive(Default)]
pub struct ToldRates(Mutex<Vec<(FeeRate, Instant)>>);

impl ToldRates {
    fn note(&self, rate: FeeRate, now: Instant, validity: Duration) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(earlier, when)| *earlier != rate && now - *when < validity);
        told.push((rate, now));
    }

    fn holds(&self, rate: FeeRate, now: Instant, validity: Duration) -> bool {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter()
            .any(|(earlier, when)| *earlier == rate && now - *when < validity)
    }
}

impl Ark {
    /// The rate for offboards at this moment, which the caller is about to tell.
    pub(in super::super) async fn tell_offboard_fee_rate(&self) -> Result<FeeRate, RpcError> {
        let rate = self.chain.fee_rates().await?.regular;
        let validity = self.params.offboard_fee_rate_validity;
        self.offboards
            .told_rates
            .note(rate, Instant::now(), validity);
        Ok(rate)
    }

    /// Whether clients may use this rate.
    pub(super) fn is_valid_fee_rate(&self, rate: FeeRate) -> bool {
        let validity = self.params.offboard_fee_rate_validity;
        self.offboards
            .told_rates
            .holds(rate, Instant::now(), validity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_for_a_while_after_it_was_told_last() {
        let rates = ToldRates::default();
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
