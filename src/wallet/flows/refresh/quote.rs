//! What a refresh costs, and the new VTXOs that it leaves (docs/protocol.md §5).

use std::sync::Arc;

use ark_lib::ArkInfo;
use ark_lib::fees::validate_and_subtract_fee_min_dust;
use ark_lib::vtxo::VTXO_DUST;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use crate::config::FeeCeilings;
use crate::model::VtxoRecord;
use crate::wallet::account::ceiling::{Charge, check_fee};
use crate::wallet::{Error, Result};

/// The most new VTXOs that a refresh makes. Each needs a key, and together they stay far below the gap limit of a recovery (H62).
const MAX_OUTPUTS: u64 = 100;

/// The price and the result of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) fee: Amount,
    /// The amounts of the new VTXOs: one, unless it exceeds the server's maximum.
    pub(super) pieces: Vec<Amount>,
}

/// Quotes a refresh of these VTXOs in a round at this height.
///
/// # Errors
/// `no_vtxos` for none, `amount_too_small` if less than a VTXO's minimum is left, `amount_too_large` if the sum overflows,
/// `too_many_outputs` if it has to be split into too many VTXOs, `fee_above_ceiling`.
pub(super) fn quote(
    info: &ArkInfo,
    ceilings: &FeeCeilings,
    charge: Charge,
    inputs: &[Arc<VtxoRecord>],
    height: BlockHeight,
) -> Result<Quote> {
    if inputs.is_empty() {
        return Err(Error::bad_request(
            "no_vtxos",
            "there is nothing to refresh",
        ));
    }
    let too_much = || Error::bad_request("amount_too_large", "the refresh overflows; refresh less");
    let gross = inputs
        .iter()
        .try_fold(Amount::ZERO, |sum, vtxo| sum.checked_add(vtxo.amount))
        .ok_or_else(too_much)?;
    let infos = inputs.iter().map(|vtxo| vtxo.fee_info(height));
    let fee = info.fees.refresh.calculate(infos).ok_or_else(too_much)?;
    check_fee(ceilings, charge, fee, gross)?;
    let net = validate_and_subtract_fee_min_dust(gross, fee, VTXO_DUST).map_err(|_| {
        let message = format!(
            "a refresh of {} sat costs {} sat, which leaves less than {} sat, the minimum of a VTXO; refresh more at once",
            gross.to_sat(),
            fee.to_sat(),
            VTXO_DUST.to_sat()
        );
        Error::bad_request("amount_too_small", message)
    })?;
    let pieces = split(net, info.max_vtxo_amount)?;
    Ok(Quote { fee, pieces })
}

/// How many of these VTXOs, from the first on, a refresh can take without too many new VTXOs.
pub(super) fn fitting<'v>(
    info: &ArkInfo,
    inputs: impl IntoIterator<Item = &'v Arc<VtxoRecord>>,
) -> usize {
    let most = info.max_vtxo_amount.unwrap_or(Amount::MAX_MONEY);
    let mut room = most.checked_mul(MAX_OUTPUTS).unwrap_or(Amount::MAX_MONEY);
    let fit = inputs.into_iter().take_while(|vtxo| {
        let left = room.checked_sub(vtxo.amount);
        room = left.unwrap_or(Amount::ZERO);
        left.is_some()
    });
    fit.count()
}

/// Splits an amount into the fewest equal parts that do not exceed `most`; the first parts are larger by the remainder's sats.
fn split(net: Amount, most: Option<Amount>) -> Result<Vec<Amount>> {
    let most = most.unwrap_or(net).max(VTXO_DUST).to_sat();
    let count = net.to_sat().div_ceil(most).max(1);
    if count > MAX_OUTPUTS {
        let message = format!(
            "the Ark server's VTXOs hold at most {most} sat, so this refresh needs {count} new VTXOs; the wallet makes at most {MAX_OUTPUTS} at once, refresh in several parts"
        );
        return Err(Error::bad_request("too_many_outputs", message));
    }
    let (piece, remainder) = (net.to_sat() / count, net.to_sat() % count);
    Ok((0..count)
        .map(|index| Amount::from_sat(piece + u64::from(index < remainder)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_sum_up_and_fit(net in 330..1_000_000_000u64, parts in 1..50u64) {
            let most = (net / parts).max(1_000);
            let parts = split(Amount::from_sat(net), Some(Amount::from_sat(most))).unwrap();
            prop_assert_eq!(parts.iter().map(|part| part.to_sat()).sum::<u64>(), net);
            prop_assert!(parts.iter().all(|part| part.to_sat() <= most && *part >= VTXO_DUST));
        }
    }

    #[test]
    fn without_a_maximum_there_is_one_part() {
        let net = Amount::from_sat(5_000);
        assert_eq!(split(net, None).unwrap(), [net]);
    }

    #[test]
    fn a_tiny_maximum_does_not_make_thousands_of_parts() {
        // H62.
        let most = Some(Amount::from_sat(331));
        let code = split(Amount::from_sat(1_000_000), most).unwrap_err().code();
        assert_eq!(code, "too_many_outputs");
        let parts = split(Amount::from_sat(33_100), most).unwrap();
        assert_eq!(parts.len(), 100);
        assert!(split(Amount::from_sat(33_101), most).is_err());
    }
}
