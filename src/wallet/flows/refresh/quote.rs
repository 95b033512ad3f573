//! What a refresh costs, and the new VTXOs that it leaves (docs/protocol.md §5).

use std::sync::Arc;

use ark_lib::ArkInfo;
use ark_lib::fees::validate_and_subtract_fee_min_dust;
use ark_lib::vtxo::VTXO_DUST;
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use crate::model::VtxoRecord;
use crate::wallet::{Error, Result};

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
/// `no_vtxos` for none, `amount_too_small` if less than a VTXO's minimum is left, `amount_too_large` if the sum overflows.
pub(super) fn quote(
    info: &ArkInfo,
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
    let net = validate_and_subtract_fee_min_dust(gross, fee, VTXO_DUST).map_err(|_| {
        let message = format!(
            "a refresh of {} sat costs {} sat, which leaves less than {} sat, the minimum of a VTXO; refresh more at once",
            gross.to_sat(),
            fee.to_sat(),
            VTXO_DUST.to_sat()
        );
        Error::bad_request("amount_too_small", message)
    })?;
    Ok(Quote {
        fee,
        pieces: split(net, info.max_vtxo_amount),
    })
}

/// Splits an amount into the fewest equal parts that do not exceed `most`; the first parts are larger by the remainder's sats.
fn split(net: Amount, most: Option<Amount>) -> Vec<Amount> {
    let most = most.unwrap_or(net).max(VTXO_DUST).to_sat();
    let count = net.to_sat().div_ceil(most).max(1);
    let (piece, remainder) = (net.to_sat() / count, net.to_sat() % count);
    (0..count)
        .map(|index| Amount::from_sat(piece + u64::from(index < remainder)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_sum_up_and_fit(net in 330..1_000_000_000u64, parts in 1..50u64) {
            let most = (net / parts).max(1_000);
            let parts = split(Amount::from_sat(net), Some(Amount::from_sat(most)));
            prop_assert_eq!(parts.iter().map(|part| part.to_sat()).sum::<u64>(), net);
            prop_assert!(parts.iter().all(|part| part.to_sat() <= most && *part >= VTXO_DUST));
        }
    }

    #[test]
    fn without_a_maximum_there_is_one_part() {
        let net = Amount::from_sat(5_000);
        assert_eq!(split(net, None), [net]);
    }
}
