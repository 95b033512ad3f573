//! The Ark server's fees and limits (docs/protocol.md §5). The operations and the [estimates](super::estimate) both compute
//! with these functions.

use std::sync::Arc;

use ark_lib::ArkInfo;
use ark_lib::vtxo::VTXO_DUST;
use bitcoin::{Amount, FeeRate, ScriptBuf};
use bitcoin_ext::BlockHeight;

use crate::model::VtxoRecord;
use crate::wallet::coins::select::MAX_INPUTS;
use crate::wallet::{Error, Result};

/// The Ark server's fee for boarding `amount`, which reduces the VTXO.
///
/// # Errors
/// `amount_too_large` if it overflows.
pub(in crate::wallet) fn board_fee(info: &ArkInfo, amount: Amount) -> Result<Amount> {
    info.fees.board.calculate(amount).ok_or_else(overflow)
}

/// Checks that the Ark server boards `amount`.
///
/// # Errors
/// `amount_too_small`, `amount_too_large`.
pub(in crate::wallet) fn check_board_amount(info: &ArkInfo, amount: Amount) -> Result<()> {
    let least = info.min_board_amount.max(VTXO_DUST);
    if amount < least {
        let message = format!(
            "the amount is {} sat, but the Ark server boards at least {} sat; board more",
            amount.to_sat(),
            least.to_sat()
        );
        return Err(Error::bad_request("amount_too_small", message));
    }
    match info.max_vtxo_amount {
        Some(most) if amount > most => {
            let message = format!(
                "the Ark server boards at most {} sat at once; board in several parts",
                most.to_sat()
            );
            Err(Error::bad_request("amount_too_large", message))
        }
        _ => Ok(()),
    }
}

/// The Ark server's fee for a Lightning payment of `amount` to the wallet, which reduces what the wallet gets.
///
/// # Errors
/// `amount_too_large` if it overflows.
pub(in crate::wallet) fn lightning_receive_fee(info: &ArkInfo, amount: Amount) -> Result<Amount> {
    let fee = info.fees.lightning_receive.calculate(amount);
    fee.ok_or_else(overflow)
}

/// The Ark server's fee for an on-chain payment out of `vtxos` at height `tip`; `None` if it overflows.
///
/// `amount` is the gross amount if the fee comes out of it, and the net amount if the fee comes on top.
pub(in crate::wallet) fn offboard_charge(
    info: &ArkInfo,
    script: &ScriptBuf,
    amount: Amount,
    rate: FeeRate,
    vtxos: &[Arc<VtxoRecord>],
    tip: BlockHeight,
) -> Option<Amount> {
    let infos = vtxos.iter().map(|vtxo| vtxo.fee_info(tip));
    info.fees.offboard.calculate(script, amount, rate, infos)
}

/// The most VTXOs of one offboard: what the server allows, but no more than a payment spends.
pub(in crate::wallet) fn max_inputs(info: &ArkInfo) -> usize {
    info.max_offboard_inputs.min(MAX_INPUTS)
}

/// The sum of amounts.
///
/// # Errors
/// `amount_too_large` if it overflows.
pub(in crate::wallet) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount> {
    amounts
        .into_iter()
        .try_fold(Amount::ZERO, Amount::checked_add)
        .ok_or_else(overflow)
}

pub(super) fn overflow() -> Error {
    Error::bad_request(
        "amount_too_large",
        "the amount and its fee exceed all bitcoin; use a smaller amount",
    )
}
