//! What a server must be like before the wallet works with it (docs/protocol.md §3.5, hazards H14, H15, H40).

use ark_lib::ArkInfo;
use bitcoin::Network;
use bitcoin::secp256k1::PublicKey;
use bitcoin_ext::BlockDelta;

use super::Error;

/// The least exit delay on mainnet, blocks.
const MIN_MAINNET_EXIT_DELTA: u16 = 96;
/// The most nonces per round output on mainnet; more only burn our time.
const MAX_MAINNET_ROUND_NONCES: usize = 16;
/// The most anywhere else. A tree has one level for each, so more serve nobody, and without a limit they use up all memory.
const MAX_ROUND_NONCES: usize = 256;

/// The keys by which a wallet knows its server for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedKeys {
    /// Cosigns VTXOs.
    pub server: PublicKey,
    /// Blinds mailboxes.
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

/// Refuses parameters under which coins could be lost.
pub(super) fn check(
    info: &ArkInfo,
    pinned: Option<&PinnedKeys>,
    exit_margin: BlockDelta,
) -> Result<(), Error> {
    let refuse = |reason: &str| Err(Error::Unsafe(reason.to_owned()));
    if let Some(pinned) = pinned {
        if pinned.server != info.server_pubkey {
            return refuse(
                "it has another public key than the server of this wallet; take your coins on chain with an exit",
            );
        }
        if pinned.mailbox != info.mailbox_pubkey {
            return refuse(
                "its mailbox key is not the one that this wallet's addresses were made with",
            );
        }
    }
    if info.vtxo_exit_delta == BlockDelta::ZERO {
        return refuse("it wants exits without a delay");
    }
    if info.nb_round_nonces == 0 {
        return refuse("it wants rounds without nonces");
    }
    if info.nb_round_nonces > MAX_ROUND_NONCES {
        return refuse("it wants too many round nonces");
    }
    if let Err(error) = info.fees.validate() {
        return Err(Error::Unsafe(format!(
            "its fee table is not in order: {error}"
        )));
    }
    if info.network == Network::Bitcoin {
        if u32::from(info.vtxo_exit_delta.to_u16()) < u32::from(MIN_MAINNET_EXIT_DELTA) {
            return refuse("its exit delay is too short for mainnet");
        }
        if info.nb_round_nonces > MAX_MAINNET_ROUND_NONCES {
            return refuse("it wants too many round nonces");
        }
        let settled = info
            .required_board_confirmations
            .saturating_add(usize::from(exit_margin.to_u16()));
        if usize::from(info.vtxo_lifetime.to_u16()) <= settled {
            return refuse("its VTXOs live too short to be boarded and exited in time");
        }
    }
    Ok(())
}
