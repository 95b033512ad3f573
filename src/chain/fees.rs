//! Fee rates in three tiers, with a fallback for each (docs/protocol.md §9.3, W24).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::FeeRate;
use bitcoin_ext::FeeRateExt;

/// How long fetched rates serve.
const FRESH: Duration = Duration::from_secs(30);
/// The highest estimate that is believed, in sat/vB. A higher one is a mistake, and following it would burn the wallet.
const HIGHEST: f64 = 10_000.0;

/// What to pay for a confirmation within 1, 3 and 6 blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeRates {
    /// Next block.
    pub fast: FeeRate,
    /// Within 3 blocks.
    pub regular: FeeRate,
    /// Within 6 blocks.
    pub slow: FeeRate,
}

impl FeeRates {
    /// Picks the tiers from estimates in sat/vB by confirmation target in blocks, rounding up.
    ///
    /// A tier without an estimate takes the one of the next tighter target, else of the next wider, else `fallback`. No
    /// rate is below what nodes relay.
    pub(super) fn from_estimates(estimates: &BTreeMap<u16, f64>, fallback: FeeRate) -> FeeRates {
        let usable: BTreeMap<u16, FeeRate> = estimates
            .iter()
            .filter(|(_, rate)| **rate > 0.0 && **rate <= HIGHEST)
            .filter_map(|(target, rate)| {
                FeeRate::from_sat_per_vb_decimal_checked_ceil(*rate).map(|rate| (*target, rate))
            })
            .collect();
        let tier = |target: u16| {
            let tighter = usable.range(..=target).next_back();
            let nearest = tighter.or_else(|| usable.range(target..).next());
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

/// The last known rates.
pub(super) struct FeeCache {
    fallback: FeeRate,
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

    /// The last fetched rates, or the fallback before the first fetch.
    pub(super) fn last(&self) -> FeeRates {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The last fetched rates, if they are younger than 30 seconds.
    pub(super) fn fresh(&self) -> Option<FeeRates> {
        let (rates, fetched_at) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        fetched_at.filter(|at| at.elapsed() < FRESH).map(|_| rates)
    }

    /// Takes over what the backend estimated just now.
    pub(super) fn fetched(&self, estimates: &BTreeMap<u16, f64>) -> FeeRates {
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
    fn each_tier_falls_back_on_its_own() {
        assert_eq!(rates(&[]), (500, 500, 500));
        assert_eq!(rates(&[(1, 10.0)]), (2500, 2500, 2500));
        assert_eq!(rates(&[(2, 8.0), (144, 1.0)]), (2000, 2000, 2000));
        assert_eq!(rates(&[(1, 10.0), (3, 4.0), (6, 2.0)]), (2500, 1000, 500));
    }

    #[test]
    fn rates_round_up_and_stay_relayable() {
        assert_eq!(
            rates(&[(1, 1.001), (3, 0.2), (6, f64::NAN)]),
            (251, 250, 250)
        );
        assert_eq!(rates(&[(1, -1.0), (3, 1e9)]), (500, 500, 500));
    }

    #[test]
    fn fetched_rates_replace_the_fallback() {
        let cache = FeeCache::new(FALLBACK);
        assert_eq!(cache.last().fast, FALLBACK);
        assert_eq!(cache.fresh(), None);
        let fetched = cache.fetched(&BTreeMap::from([(1, 3.0)]));
        assert_eq!(cache.fresh(), Some(fetched));
        assert_eq!(cache.last(), fetched);
    }
}
