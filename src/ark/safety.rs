//! The conditions on a server's keys and parameters; the wallet does not connect to a server that violates one
//! (docs/protocol.md §3.5, hazards H14, H15, H40).

use ark_lib::ArkInfo;
use bitcoin::Network;
use bitcoin::secp256k1::PublicKey;
use bitcoin_ext::BlockDelta;

use super::Error;

/// The smallest exit delay on mainnet, in blocks.
const MIN_MAINNET_EXIT_DELTA: u16 = 96;
/// The largest number of nonces per round output on mainnet. Making nonces costs time, and no mainnet tree needs more.
const MAX_MAINNET_ROUND_NONCES: usize = 16;
/// The largest number of nonces per round output on other networks. A tree needs one nonce per level; an unlimited number would
/// exhaust the memory.
const MAX_ROUND_NONCES: usize = 256;

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

/// Refuses keys that differ from the pinned ones, and parameters under which coins could be lost.
pub(super) fn check(
    info: &ArkInfo,
    pinned: Option<&PinnedKeys>,
    exit_margin: BlockDelta,
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
    if info.network == Network::Bitcoin {
        if u32::from(info.vtxo_exit_delta.to_u16()) < u32::from(MIN_MAINNET_EXIT_DELTA) {
            return refuse("its exit delay is too short for mainnet");
        }
        if info.nb_round_nonces > MAX_MAINNET_ROUND_NONCES {
            return refuse("its number of round nonces is too large");
        }
        let blocks_needed = info
            .required_board_confirmations
            .saturating_add(usize::from(exit_margin.to_u16()));
        if usize::from(info.vtxo_lifetime.to_u16()) <= blocks_needed {
            return refuse("its VTXO lifetime is too short to board and to exit before the expiry");
        }
    }
    Ok(())
}
