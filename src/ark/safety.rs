//! The conditions on a server's keys and parameters; the wallet does not connect to a server that violates one
//! (docs/protocol.md §3.5, hazards H14, H15, H40).

use ark_lib::ArkInfo;
use ark_lib::fees::{FeeSchedule, PpmExpiryFeeEntry, PpmFeeRate};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Network};
use bitcoin_ext::BlockDelta;

use super::Error;

/// The smallest exit delay on mainnet, in blocks.
const MIN_MAINNET_EXIT_DELTA: u16 = 96;
/// The largest number of nonces per round output on mainnet. Making nonces costs time, and no mainnet tree needs more.
const MAX_MAINNET_ROUND_NONCES: usize = 16;
/// The largest number of nonces per round output on other networks. A tree needs one nonce per level; an unlimited number would
/// exhaust the memory.
const MAX_ROUND_NONCES: usize = 256;
/// The smallest limit of the exit depth. VTXOs that come out of a round must be far below it, or each of them is due for the next
/// refresh at once (H47).
const MIN_EXIT_DEPTH_LIMIT: u16 = 5;
/// The smallest limit of a VTXO's amount. A smaller one splits a refresh into too many VTXOs (H62).
const MIN_AMOUNT_LIMIT: Amount = Amount::from_sat(10_000);
/// The largest share of an amount that a fee can be, in parts per million.
const MAX_PPM: PpmFeeRate = PpmFeeRate(1_000_000);

/// The server keys that a wallet pins at its first connection and that must never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedKeys {
    /// The key with which the server cosigns VTXOs.
    pub server: PublicKey,
    /// The key to which mailbox identifiers are blinded.
    pub mailbox: PublicKey,
}

impl PinnedKeys {
    pub(super) fn of(info: &ArkInfo) -> PinnedKeys {
        PinnedKeys {
            server: info.server_pubkey,
            mailbox: info.mailbox_pubkey,
        }
    }
}

/// What the wallet's own settings need of the server's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// Blocks that an exit may take. The lifetime of the server's VTXOs must leave room for it.
    pub exit: BlockDelta,
    /// Blocks before the expiry of a VTXO from which it is refreshed. The lifetime must be longer.
    pub refresh: BlockDelta,
}

/// Refuses keys that differ from the pinned ones, and parameters under which coins could be lost.
pub(super) fn check(
    info: &ArkInfo,
    pinned: Option<&PinnedKeys>,
    margins: Margins,
) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::Unsafe(reason.to_owned()));
    if let Some(pinned) = pinned {
        if pinned.server != info.server_pubkey {
            return refuse(
                "its public key differs from the one that this wallet has pinned; check the configured address. If the server is gone, take your coins on chain with an exit",
            );
        }
        if pinned.mailbox != info.mailbox_pubkey {
            return refuse(
                "its mailbox key differs from the one that this wallet has pinned and that its addresses contain; check the configured address",
            );
        }
    }
    if info.vtxo_exit_delta == BlockDelta::ZERO {
        return refuse("its exit delay is zero");
    }
    if info.nb_round_nonces == 0 {
        return refuse("its number of round nonces is zero");
    }
    if info.nb_round_nonces > MAX_ROUND_NONCES {
        return refuse("its number of round nonces is too large");
    }
    if let Err(error) = info.fees.validate() {
        return Err(Error::Unsafe(format!("its fee table is invalid: {error}")));
    }
    if !is_payable(&info.fees) {
        return refuse("its fee table charges more than the whole amount");
    }
    if info.max_vtxo_exit_depth < MIN_EXIT_DEPTH_LIMIT {
        return refuse("its limit for the exit depth is so small that each VTXO is due at once");
    }
    if info
        .max_vtxo_amount
        .is_some_and(|most| most < MIN_AMOUNT_LIMIT)
    {
        return refuse("its limit for the amount of a VTXO is too small");
    }
    let lifetime = u32::from(info.vtxo_lifetime.to_u16());
    let exit = u32::from(info.vtxo_exit_delta.to_u16()) + 2 * u32::from(margins.exit.to_u16());
    if lifetime <= exit {
        return refuse("its VTXO lifetime is too short to exit before the expiry");
    }
    if lifetime <= u32::from(margins.refresh.to_u16()) {
        return refuse(
            "its VTXO lifetime is not longer than vtxo_refresh_expiry_threshold, so each VTXO is due at once",
        );
    }
    if info.network == Network::Bitcoin {
        if u32::from(info.vtxo_exit_delta.to_u16()) < u32::from(MIN_MAINNET_EXIT_DELTA) {
            return refuse("its exit delay is too short for mainnet");
        }
        if info.nb_round_nonces > MAX_MAINNET_ROUND_NONCES {
            return refuse("its number of round nonces is too large");
        }
        let blocks_needed = info
            .required_board_confirmations
            .saturating_add(usize::from(margins.exit.to_u16()));
        if usize::from(info.vtxo_lifetime.to_u16()) <= blocks_needed {
            return refuse("its VTXO lifetime is too short to board and to exit before the expiry");
        }
    }
    Ok(())
}

/// Whether no part of the fee table charges more than the amount itself, or than there are bitcoin.
fn is_payable(fees: &FeeSchedule) -> bool {
    let FeeSchedule {
        board,
        offboard,
        refresh,
        lightning_receive,
        lightning_send,
    } = fees;
    let tables = [
        &offboard.ppm_expiry_table,
        &refresh.ppm_expiry_table,
        &lightning_send.ppm_expiry_table,
    ];
    let by_expiry = tables.into_iter().flatten();
    let mut rates = by_expiry
        .map(|entry: &PpmExpiryFeeEntry| entry.ppm)
        .chain([board.ppm, lightning_receive.ppm]);
    let mut amounts = [
        board.min_fee,
        board.base_fee,
        offboard.base_fee,
        refresh.base_fee,
        lightning_receive.base_fee,
        lightning_send.min_fee,
        lightning_send.base_fee,
    ]
    .into_iter();
    rates.all(|rate| rate <= MAX_PPM) && amounts.all(|amount| amount <= Amount::MAX_MONEY)
}
