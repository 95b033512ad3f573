//! The server's parameters (docs/protocol.md §37.1, §37.2) and the rules they have to satisfy together.

use std::time::Duration;

use anyhow::{Context, ensure};
use ark_lib::fees::{
    BoardFees, FeeSchedule, LightningReceiveFees, LightningSendFees, OffboardFees,
    PpmExpiryFeeEntry, PpmFeeRate, RefreshFees,
};
use ark_lib::vtxo::policy::MAX_BLOCK_DELTA;
use bitcoin::{Amount, ScriptBuf};
use bitcoin_ext::BlockDelta;
use server_rpc::RECOVERY_XPUB_CHUNK_SIZE;

/// Margin in blocks that a client keeps before the deadline of an exit.
const CLIENT_EXIT_MARGIN: u32 = 12;
/// Further margin in blocks that a client keeps for the claim of an HTLC.
const CLIENT_HTLC_CLAIM_MARGIN: u32 = 18;
/// Blocks that may pass between a client's request for an invoice and its claim.
const CLIENT_PREPARE_MARGIN: u32 = 2;
/// Slack in blocks between a held incoming payment and the outgoing one that pays it.
const HTLC_FORWARD_SLACK: u32 = 10;

/// The parameters that the server announces in `GetArkInfo`, and the limits that it enforces.
#[derive(Debug, Clone)]
pub struct Params {
    /// Blocks from issue to expiry of a VTXO.
    pub vtxo_lifetime: BlockDelta,
    /// Blocks between the confirmation of an exit and the coins being spendable.
    pub vtxo_exit_delta: BlockDelta,
    /// Smallest board, before the fee.
    pub min_board_amount: Amount,
    /// Largest VTXO, if limited.
    pub max_vtxo_amount: Option<Amount>,
    /// Confirmations that the funding transaction of a board needs.
    pub required_board_confirmations: u32,
    /// Exit depth from which an arkoor spend is refused.
    pub max_vtxo_exit_depth: u16,
    /// Most outputs of one arkoor input, isolated dust included.
    pub max_arkoor_fanout: usize,
    /// Nonces per output in a round, and so the depth of its tree.
    pub nb_round_nonces: usize,
    /// Time between the starts of two rounds.
    pub round_interval: Duration,
    /// Time in which the clients can join a round.
    pub round_submit_time: Duration,
    /// Time in which the clients can sign the tree of a round.
    pub round_sign_time: Duration,
    /// Number of interactive participants after which a round waits for no more, if known.
    pub round_participants: Option<usize>,
    /// How long the server remembers a nonce for the forfeit of an input.
    pub round_forfeit_nonces_timeout: Duration,
    /// How long a client can take to finish an offboard.
    pub offboard_session_timeout: Duration,
    /// How long a fee rate for offboards stays valid after it was announced.
    pub offboard_fee_rate_validity: Duration,
    /// Scripts that no offboard may pay.
    pub blocked_scripts: Vec<ScriptBuf>,
    /// Most inputs of one offboard.
    pub max_offboard_inputs: usize,
    /// Blocks kept between the expiries of a Lightning HTLC and of the VTXO that carries it.
    pub htlc_expiry_delta: BlockDelta,
    /// Blocks until an HTLC-send VTXO expires.
    pub htlc_send_expiry_delta: BlockDelta,
    /// Largest final CLTV delta that a client may ask for in an invoice.
    pub max_user_invoice_cltv_delta: BlockDelta,
    /// Whether a Lightning receive needs a proof of ownership of a VTXO.
    pub ln_receive_anti_dos_required: bool,
    /// The tokens that prove a Lightning receive in place of a VTXO; each can be used once.
    pub ln_receive_tokens: Vec<String>,
    /// Largest amount of a Lightning receive, if limited.
    pub max_ln_receive_amount: Option<Amount>,
    /// How long an invoice of a client is valid.
    pub ln_invoice_expiry: Duration,
    /// How long a payment is held for a client that does not ask for its HTLCs.
    pub ln_hold_window: Duration,
    /// The VTXOs that Lightning receives are granted from: how many, of which amount. The server never grants more than these hold.
    pub ln_pool: Vec<(u32, Amount)>,
    /// Blocks from issue to expiry of these VTXOs.
    pub ln_pool_lifetime: BlockDelta,
    /// Whether the server tells why a Lightning payment failed. Real servers up to version 0.6 do not.
    pub ln_failure_reasons: bool,
    /// Keys that one call of `RecoverVtxosByXpub` scans.
    pub recovery_xpub_keys: u32,
    /// Most VTXOs in one answer of `RecoverVtxosByXpub`.
    pub max_recovered_vtxos: usize,
    /// Most messages in one answer of `ReadMailbox`.
    pub max_read_mailbox_items: u32,
    /// Largest request in bytes. A real server has tonic's default of 4 MiB; tests lower it.
    pub max_request_bytes: usize,
    /// What each operation costs.
    pub fees: FeeSchedule,
    /// Announcement shown to the users at the handshake.
    pub announcement: Option<String>,
}

impl Params {
    /// For a person who tries the sandbox: real fees, and a lifetime of about a week of blocks.
    pub fn demo() -> Params {
        Params {
            vtxo_lifetime: BlockDelta::new(1008),
            min_board_amount: Amount::from_sat(10_000),
            round_interval: Duration::from_secs(30),
            round_submit_time: Duration::from_secs(1),
            round_sign_time: Duration::from_secs(2),
            ln_invoice_expiry: Duration::from_secs(3600),
            recovery_xpub_keys: RECOVERY_XPUB_CHUNK_SIZE,
            ln_pool: vec![
                (10, Amount::from_sat(10_000)),
                (10, Amount::from_sat(100_000)),
            ],
            fees: charging_fees(),
            ..Params::free()
        }
    }

    /// For tests: no fees, so that amounts are easy to follow, and boards from 330 sat.
    pub fn free() -> Params {
        Params {
            vtxo_lifetime: BlockDelta::new(432),
            vtxo_exit_delta: BlockDelta::new(12),
            min_board_amount: Amount::from_sat(330),
            max_vtxo_amount: None,
            required_board_confirmations: 1,
            max_vtxo_exit_depth: 100,
            max_arkoor_fanout: 4,
            nb_round_nonces: 8,
            round_interval: Duration::from_secs(3600),
            round_submit_time: Duration::from_secs(5),
            round_sign_time: Duration::from_secs(5),
            round_participants: None,
            round_forfeit_nonces_timeout: Duration::from_secs(30),
            offboard_session_timeout: Duration::from_secs(30),
            offboard_fee_rate_validity: Duration::from_secs(15 * 60),
            blocked_scripts: Vec::new(),
            max_offboard_inputs: 100,
            htlc_expiry_delta: BlockDelta::new(6),
            htlc_send_expiry_delta: BlockDelta::new(100),
            max_user_invoice_cltv_delta: BlockDelta::new(60),
            ln_receive_anti_dos_required: false,
            ln_receive_tokens: Vec::new(),
            max_ln_receive_amount: None,
            ln_invoice_expiry: Duration::from_secs(600),
            ln_hold_window: Duration::from_secs(180),
            ln_pool: vec![
                (10, Amount::from_sat(1_000)),
                (10, Amount::from_sat(10_000)),
            ],
            ln_pool_lifetime: BlockDelta::new(432),
            ln_failure_reasons: false,
            recovery_xpub_keys: 1_000,
            max_recovered_vtxos: 100,
            max_read_mailbox_items: 100,
            max_request_bytes: 4 * 1024 * 1024,
            fees: FeeSchedule::default(),
            announcement: None,
        }
    }

    /// Refuses values that clients do not accept; the messages follow docs/protocol.md §37.1.
    pub fn check(&self) -> anyhow::Result<()> {
        let exit = self.vtxo_exit_delta.to_u32();
        let htlc = self.htlc_expiry_delta.to_u32();
        let htlc_send = self.htlc_send_expiry_delta.to_u32();
        let cltv = self.max_user_invoice_cltv_delta.to_u32();
        let lifetime = self.vtxo_lifetime.to_u32();

        for (name, delta) in [
            ("vtxo_exit_delta", self.vtxo_exit_delta),
            ("htlc_expiry_delta", self.htlc_expiry_delta),
            ("htlc_send_expiry_delta", self.htlc_send_expiry_delta),
            (
                "max_user_invoice_cltv_delta",
                self.max_user_invoice_cltv_delta,
            ),
            ("vtxo_lifetime", self.vtxo_lifetime),
            ("ln_pool_lifetime", self.ln_pool_lifetime),
        ] {
            ensure!(
                delta > BlockDelta::ZERO && delta <= MAX_BLOCK_DELTA,
                "{name} must be between 1 and {MAX_BLOCK_DELTA} blocks, not {delta}"
            );
        }
        ensure!(
            exit + htlc + CLIENT_EXIT_MARGIN + CLIENT_HTLC_CLAIM_MARGIN + CLIENT_PREPARE_MARGIN
                <= cltv,
            "max_user_invoice_cltv_delta leaves no time to claim a received payment on chain"
        );
        ensure!(
            cltv + htlc + HTLC_FORWARD_SLACK <= htlc_send,
            "htlc_send_expiry_delta is too short to pay another wallet of this server"
        );
        ensure!(
            htlc_send < lifetime,
            "htlc_send_expiry_delta must be shorter than vtxo_lifetime"
        );
        ensure!(
            2 * CLIENT_EXIT_MARGIN + exit < lifetime,
            "vtxo_lifetime is too short for a client to trust a new VTXO"
        );
        ensure!(self.nb_round_nonces > 0, "nb_round_nonces must not be zero");
        ensure!(
            self.max_read_mailbox_items > 0,
            "max_read_mailbox_items must not be zero"
        );
        ensure!(
            self.recovery_xpub_keys > 0 && self.max_recovered_vtxos > 0,
            "recovery_xpub_keys and max_recovered_vtxos must not be zero"
        );
        ensure!(
            !self.round_interval.is_zero(),
            "round_interval must not be zero"
        );
        self.fees.validate().context("fee schedule")
    }
}

/// Fees as a public server charges them (docs/protocol.md §37.2).
pub fn charging_fees() -> FeeSchedule {
    let by_expiry: Vec<PpmExpiryFeeEntry> = [(0, 0), (97, 1_000), (199, 4_000), (2_161, 8_000)]
        .into_iter()
        .map(|(blocks, ppm)| PpmExpiryFeeEntry {
            expiry_blocks_threshold: blocks,
            ppm: PpmFeeRate(ppm),
        })
        .collect();
    FeeSchedule {
        board: BoardFees {
            min_fee: Amount::from_sat(330),
            base_fee: Amount::from_sat(100),
            ppm: PpmFeeRate(1_000),
        },
        offboard: OffboardFees {
            base_fee: Amount::from_sat(200),
            fixed_additional_vb: 212,
            ppm_expiry_table: by_expiry.clone(),
        },
        refresh: RefreshFees {
            base_fee: Amount::from_sat(150),
            ppm_expiry_table: by_expiry.clone(),
        },
        lightning_receive: LightningReceiveFees {
            base_fee: Amount::from_sat(100),
            ppm: PpmFeeRate(2_000),
        },
        lightning_send: LightningSendFees {
            min_fee: Amount::from_sat(10),
            base_fee: Amount::from_sat(75),
            ppm_expiry_table: by_expiry,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_presets_are_consistent() {
        Params::demo().check().unwrap();
        Params::free().check().unwrap();
    }

    #[test]
    fn invoice_delta_has_to_leave_time_for_a_claim() {
        let tight = Params {
            max_user_invoice_cltv_delta: BlockDelta::new(50),
            ..Params::free()
        };
        tight.check().unwrap();
        let too_tight = Params {
            max_user_invoice_cltv_delta: BlockDelta::new(49),
            ..Params::free()
        };
        assert!(too_tight.check().is_err());
    }

    #[test]
    fn deltas_have_to_fit_each_other() {
        for broken in [
            Params {
                htlc_send_expiry_delta: BlockDelta::new(75),
                ..Params::free()
            },
            Params {
                vtxo_lifetime: BlockDelta::new(100),
                ..Params::free()
            },
            Params {
                vtxo_lifetime: BlockDelta::new(16_384),
                ..Params::free()
            },
            Params {
                vtxo_exit_delta: BlockDelta::ZERO,
                ..Params::free()
            },
        ] {
            assert!(broken.check().is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_falling_fee_table_is_refused() {
        let mut params = Params::demo();
        params.fees.refresh.ppm_expiry_table.swap(1, 2);
        assert!(params.check().is_err());
    }

    #[test]
    fn board_fee_follows_the_table() {
        let board = charging_fees().board;
        let fee = |sat| board.calculate(Amount::from_sat(sat)).unwrap().to_sat();
        assert_eq!(fee(20_000), 330);
        assert_eq!(fee(230_000), 330);
        assert_eq!(fee(230_001), 331);
        assert_eq!(fee(1_000_000), 1_100);
    }
}
