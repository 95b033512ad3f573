//! Fee rates in three tiers, each with a fallback (docs/protocol.md §9.3, W24).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::FeeRate;
use bitcoin_ext::FeeRateExt;

/// How long estimates of the backend are reused.
const FRESH: Duration = Duration::from_secs(30);
/// The highest accepted estimate, in sat/vB. A higher one is an error of the backend, and paying it would waste the coins.
const MAX_ESTIMATE: f64 = 10_000.0;

/// The fee rates for a confirmation within 1, 3 and 6 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeRates {
    /// For the next block.
    pub fast: FeeRate,
    /// For a confirmation within 3 blocks.
    pub regular: FeeRate,
    /// For a confirmation within 6 blocks.
    pub slow: FeeRate,
}

impl FeeRates {
    /// Picks the tiers from estimates in sat/vB by confirmation target in blocks, rounding up.
    ///
    /// A tier without an estimate takes the estimate of the next lower target, else of the next higher one, else `fallback`.
    /// No rate is below the minimum relay fee rate.
    pub(super) fn from_estimates(estimates: &BTreeMap<u16, f64>, fallback: FeeRate) -> FeeRates {
        let usable: BTreeMap<u16, FeeRate> = estimates
            .iter()
            .filter(|(_, rate)| **rate > 0.0 && **rate <= MAX_ESTIMATE)
            .filter_map(|(target, rate)| {
                FeeRate::from_sat_per_vb_decimal_checked_ceil(*rate).map(|rate| (*target, rate))
            })
            .collect();
        let tier = |target: u16| {
            let lower = usable.range(..=target).next_back();
            let nearest = lower.or_else(|| usable.range(target..).next());
            nearest
                .map_or(fallback, |(_, rate)| *rate)
                .max(FeeRate::BROADCAST_MIN)
        };
        FeeRates {
            fast: tier(1),
            regular: tier(3),
            slow: tier(6),
        }
    }
}

/// Holds the last known fee rates.
pub(super) struct FeeCache {
    fallback: FeeRate,
    /// The rates, and when the backend estimated them; `None` for the fallback.
    last: Mutex<(FeeRates, Option<Instant>)>,
}

impl FeeCache {
    pub(super) fn new(fallback: FeeRate) -> FeeCache {
        let rates = FeeRates::from_estimates(&BTreeMap::new(), fallback);
        FeeCache {
            fallback,
            last: Mutex::new((rates, None)),
        }
    }

    /// The last estimated rates, or the fallback before the first estimate.
    pub(super) fn last(&self) -> FeeRates {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The last estimated rates, if they are younger than 30 seconds.
    pub(super) fn fresh(&self) -> Option<FeeRates> {
        let (rates, estimated_at) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        estimated_at
            .filter(|at| at.elapsed() < FRESH)
            .map(|_| rates)
    }

    /// Stores the backend's estimates, in sat/vB by confirmation target in blocks, and returns the rates made from them.
    pub(super) fn record(&self, estimates: &BTreeMap<u16, f64>) -> FeeRates {
        let rates = FeeRates::from_estimates(estimates, self.fallback);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (rates, Some(Instant::now()));
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FALLBACK: FeeRate = FeeRate::from_sat_per_kwu(500);

    fn rates(estimates: &[(u16, f64)]) -> (u64, u64, u64) {
        let rates = FeeRates::from_estimates(&estimates.iter().copied().collect(), FALLBACK);
        (
            rates.fast.to_sat_per_kwu(),
            rates.regular.to_sat_per_kwu(),
            rates.slow.to_sat_per_kwu(),
        )
    }

    #[test]
    fn a_tier_without_an_estimate_takes_the_nearest_one() {
        assert_eq!(rates(&[]), (500, 500, 500));
        assert_eq!(rates(&[(1, 10.0)]), (2500, 2500, 2500));
        assert_eq!(rates(&[(2, 8.0), (144, 1.0)]), (2000, 2000, 2000));
        assert_eq!(rates(&[(1, 10.0), (3, 4.0), (6, 2.0)]), (2500, 1000, 500));
    }

    #[test]
    fn rates_round_up_and_are_at_least_the_minimum_relay_fee() {
        assert_eq!(
            rates(&[(1, 1.001), (3, 0.2), (6, f64::NAN)]),
            (251, 250, 250)
        );
        assert_eq!(rates(&[(1, -1.0), (3, 1e9)]), (500, 500, 500));
    }

    #[test]
    fn estimated_rates_replace_the_fallback() {
        let cache = FeeCache::new(FALLBACK);
        assert_eq!(cache.last().fast, FALLBACK);
        assert_eq!(cache.fresh(), None);
        let recorded = cache.record(&BTreeMap::from([(1, 3.0)]));
        assert_eq!(cache.fresh(), Some(recorded));
        assert_eq!(cache.last(), recorded);
    }
}
