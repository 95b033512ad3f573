//! The parameters of the Ark server.

use ark_lib::fees;
use bitcoin::Amount;
use serde::Serialize;
use utoipa::ToSchema;

use super::aliases::ArkInfoAliases;

/// The latest parameters of the Ark server.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ArkInfo {
    /// `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`.
    network: String,
    /// The server's public key.
    server_pubkey: String,
    /// The public key that mailbox ids are blinded with.
    mailbox_pubkey: String,
    /// The time between two rounds, e.g. `1m 30s`.
    round_interval: String,
    /// The number of nonces per participant of a round.
    nb_round_nonces: usize,
    /// Blocks between the confirmation of an exit and its claim.
    vtxo_exit_delta: u16,
    /// Blocks from the creation of a VTXO to its expiry.
    vtxo_lifetime: u16,
    /// Deprecated name of `vtxo_lifetime`.
    #[schema(deprecated)]
    vtxo_expiry_delta: u16,
    /// Blocks after which the HTLC of an outgoing Lightning payment expires.
    htlc_send_expiry_delta: u16,
    /// Blocks between the expiry of a Lightning HTLC and that of its Ark HTLC.
    htlc_expiry_delta: u16,
    /// The largest VTXO, in satoshis; null if there is no limit.
    #[schema(required)]
    max_vtxo_amount: Option<u64>,
    /// Confirmations that a board needs.
    required_board_confirmations: usize,
    /// The largest CLTV delta of an invoice.
    max_user_invoice_cltv_delta: u16,
    /// The smallest board, in satoshis.
    min_board_amount_sat: u64,
    /// The fee rate of offboards, in satoshis per 1000 virtual bytes.
    offboard_feerate_sat_per_kvb: u64,
    /// Whether a Lightning receive needs a proof of ownership or a token.
    ln_receive_anti_dos_required: bool,
    /// The fees of the server.
    fees: FeeSchedule,
    /// The maximum exit depth; a VTXO that reaches it must be refreshed before it can be spent.
    max_vtxo_exit_depth: u16,
    /// A link to the server's terms of service.
    tos_link: Option<String>,
    /// The maximum number of VTXOs per offboard.
    max_offboard_inputs: usize,
    #[serde(flatten)]
    aliases: ArkInfoAliases,
}

/// The fees of the Ark server.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FeeSchedule {
    board: BoardFees,
    offboard: OffboardFees,
    refresh: RefreshFees,
    lightning_receive: LightningReceiveFees,
    lightning_send: LightningSendFees,
}

/// Fees of a board: the base fee plus a share of the amount, but at least the minimum.
#[derive(Serialize, ToSchema)]
struct BoardFees {
    min_fee_sat: u64,
    base_fee_sat: u64,
    /// Millionths of the amount.
    ppm: u64,
}

/// Fees of an offboard.
#[derive(Serialize, ToSchema)]
struct OffboardFees {
    base_fee_sat: u64,
    /// Virtual bytes charged in addition to those of the output.
    fixed_additional_vb: u64,
    ppm_expiry_table: Vec<PpmExpiryFeeEntry>,
}

/// Fees of a refresh.
#[derive(Serialize, ToSchema)]
struct RefreshFees {
    base_fee_sat: u64,
    ppm_expiry_table: Vec<PpmExpiryFeeEntry>,
}

/// Fees of a Lightning receive.
#[derive(Serialize, ToSchema)]
struct LightningReceiveFees {
    base_fee_sat: u64,
    /// Millionths of the amount.
    ppm: u64,
}

/// Fees of a Lightning payment.
#[derive(Serialize, ToSchema)]
struct LightningSendFees {
    min_fee_sat: u64,
    base_fee_sat: u64,
    ppm_expiry_table: Vec<PpmExpiryFeeEntry>,
}

/// The share charged for a VTXO that expires in at least `expiry_blocks_threshold` blocks.
#[derive(Serialize, ToSchema)]
struct PpmExpiryFeeEntry {
    expiry_blocks_threshold: u32,
    /// Millionths of the amount.
    ppm: u64,
}

impl From<&ark_lib::ArkInfo> for ArkInfo {
    #[expect(
        deprecated,
        reason = "old clients need vtxo_expiry_delta, and ark-lib has no other field with the offboard fee rate"
    )]
    fn from(info: &ark_lib::ArkInfo) -> Self {
        Self {
            network: info.network.to_string(),
            server_pubkey: info.server_pubkey.to_string(),
            mailbox_pubkey: info.mailbox_pubkey.to_string(),
            round_interval: humantime::format_duration(info.round_interval).to_string(),
            nb_round_nonces: info.nb_round_nonces,
            vtxo_exit_delta: info.vtxo_exit_delta.into(),
            vtxo_lifetime: info.vtxo_lifetime.into(),
            // The published client rejects the response if the two differ, so the old key repeats the new one.
            vtxo_expiry_delta: info.vtxo_lifetime.into(),
            htlc_send_expiry_delta: info.htlc_send_expiry_delta.into(),
            htlc_expiry_delta: info.htlc_expiry_delta.into(),
            max_vtxo_amount: info.max_vtxo_amount.map(Amount::to_sat),
            required_board_confirmations: info.required_board_confirmations,
            max_user_invoice_cltv_delta: info.max_user_invoice_cltv_delta.into(),
            min_board_amount_sat: info.min_board_amount.to_sat(),
            offboard_feerate_sat_per_kvb: info.offboard_feerate.to_sat_per_kwu().saturating_mul(4),
            ln_receive_anti_dos_required: info.ln_receive_anti_dos_required,
            fees: (&info.fees).into(),
            max_vtxo_exit_depth: info.max_vtxo_exit_depth,
            tos_link: info.tos_link.clone(),
            max_offboard_inputs: info.max_offboard_inputs,
            aliases: info.into(),
        }
    }
}

impl From<&fees::FeeSchedule> for FeeSchedule {
    fn from(fees: &fees::FeeSchedule) -> Self {
        let fees::FeeSchedule {
            board,
            offboard,
            refresh,
            lightning_receive,
            lightning_send,
        } = fees;
        Self {
            board: BoardFees {
                min_fee_sat: board.min_fee.to_sat(),
                base_fee_sat: board.base_fee.to_sat(),
                ppm: board.ppm.0,
            },
            offboard: OffboardFees {
                base_fee_sat: offboard.base_fee.to_sat(),
                fixed_additional_vb: offboard.fixed_additional_vb,
                ppm_expiry_table: table(&offboard.ppm_expiry_table),
            },
            refresh: RefreshFees {
                base_fee_sat: refresh.base_fee.to_sat(),
                ppm_expiry_table: table(&refresh.ppm_expiry_table),
            },
            lightning_receive: LightningReceiveFees {
                base_fee_sat: lightning_receive.base_fee.to_sat(),
                ppm: lightning_receive.ppm.0,
            },
            lightning_send: LightningSendFees {
                min_fee_sat: lightning_send.min_fee.to_sat(),
                base_fee_sat: lightning_send.base_fee.to_sat(),
                ppm_expiry_table: table(&lightning_send.ppm_expiry_table),
            },
        }
    }
}

fn table(entries: &[fees::PpmExpiryFeeEntry]) -> Vec<PpmExpiryFeeEntry> {
    entries
        .iter()
        .map(|entry| PpmExpiryFeeEntry {
            expiry_blocks_threshold: entry.expiry_blocks_threshold,
            ppm: entry.ppm.0,
        })
        .collect()
}
