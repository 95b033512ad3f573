//! The operator's ceilings for the Ark server's fees: what exceeds one is not paid (H47, docs/protocol.md §5).

use bitcoin::{Amount, FeeRate};

use crate::config::FeeCeilings;
use crate::wallet::{Error, Result};

/// The error code of a fee above its ceiling, and of the fact that an operator has to decide about it.
pub(in crate::wallet) const ABOVE_CEILING: &str = "fee_above_ceiling";

/// What the Ark server charges for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Charge {
    /// A refresh that was requested.
    Refresh,
    /// A refresh that the daemon starts by itself.
    AutoRefresh,
    /// VTXOs that go on chain.
    Offboard,
    /// On-chain coins that become a VTXO.
    Board,
    /// A Lightning payment.
    LightningSend,
    /// A Lightning payment to the wallet.
    LightningReceive,
}

/// Checks the fee for an operation over `amount`.
///
/// # Errors
/// `fee_above_ceiling`, which names the settings.
pub(in crate::wallet) fn check_fee(
    ceilings: &FeeCeilings,
    charge: Charge,
    fee: Amount,
    amount: Amount,
) -> Result<()> {
    let (ceiling, what, setting) = match charge {
        Charge::Refresh => (ceilings.refresh, "refresh", "max_refresh_fee"),
        Charge::AutoRefresh => (
            ceilings.auto_refresh,
            "automatic refresh",
            "max_auto_refresh_fee",
        ),
        Charge::Offboard => (ceilings.offboard, "offboard", "max_offboard_fee"),
        Charge::Board => (ceilings.board, "board", "max_board_fee"),
        Charge::LightningSend => (
            ceilings.lightning_send,
            "Lightning payment",
            "max_lightning_send_fee",
        ),
        Charge::LightningReceive => (
            ceilings.lightning_receive,
            "Lightning receive",
            "max_lightning_receive_fee",
        ),
    };
    if ceiling.allows(fee, amount) {
        return Ok(());
    }
    let message = format!(
        "the Ark server charges {} sat for the {what} of {} sat, more than {setting}_sat ({} sat) and {setting}_ppm ({} ppm) allow; \
         nothing was done. Raise one of these settings to accept the fee, or wait until the server charges less",
        fee.to_sat(),
        amount.to_sat(),
        ceiling.most.to_sat(),
        ceiling.ppm,
    );
    Err(Error::conflict(ABOVE_CEILING, message))
}

/// Checks the fee rate that the server quotes for offboards.
///
/// # Errors
/// `fee_above_ceiling`, which names the setting.
pub(in crate::wallet) fn check_offboard_rate(ceilings: &FeeCeilings, rate: FeeRate) -> Result<()> {
    if rate <= ceilings.offboard_rate {
        return Ok(());
    }
    let message = format!(
        "the Ark server quotes {} sat/kWU for the on-chain transaction, more than max_offboard_fee_rate ({} sat/kWU) allows; nothing \
         was done. Raise this setting to accept the rate, or wait until the server quotes less",
        rate.to_sat_per_kwu(),
        ceilings.offboard_rate.to_sat_per_kwu(),
    );
    Err(Error::conflict(ABOVE_CEILING, message))
}
