//! `Handshake` and `GetArkInfo` (docs/protocol.md §31.1).

use ark_lib::fees::{PpmExpiryFeeEntry, PpmFeeRate};
use ark_lib::{ArkInfo, SECP};
use bitcoin::secp256k1::{Keypair, rand::thread_rng};
use bitcoin::{Amount, Network};
use bitcoin_ext::BlockDelta;
use server_rpc::protos;
use server_rpc::{MAX_PROTOCOL_VERSION, MIN_PROTOCOL_VERSION};

use super::faults::{Action, Hook, InfoFault};
use super::state::Ark;
use super::status::RpcError;

impl Ark {
    /// `Handshake`.
    pub(super) async fn handshake(
        &self,
        _request: protos::HandshakeRequest,
    ) -> Result<protos::HandshakeResponse, RpcError> {
        Ok(protos::HandshakeResponse {
            min_protocol_version: MIN_PROTOCOL_VERSION,
            max_protocol_version: MAX_PROTOCOL_VERSION,
            psa: self.params.announcement.clone(),
        })
    }

    /// `GetArkInfo`.
    pub(super) async fn get_ark_info(
        &self,
        _request: protos::Empty,
    ) -> Result<protos::ArkInfo, RpcError> {
        let params = &self.params;
        // The deprecated fields are what clients before the renaming read.
        #[allow(deprecated)]
        let mut info = ArkInfo {
            network: Network::Regtest,
            server_pubkey: self.keys.server.public_key(),
            mailbox_pubkey: self.keys.mailbox.public_key(),
            round_interval: self.round_config().interval,
            nb_round_nonces: params.nb_round_nonces,
            vtxo_exit_delta: params.vtxo_exit_delta,
            vtxo_lifetime: params.vtxo_lifetime,
            vtxo_expiry_delta: params.vtxo_lifetime,
            htlc_send_expiry_delta: params.htlc_send_expiry_delta,
            htlc_expiry_delta: params.htlc_expiry_delta,
            max_vtxo_amount: params.max_vtxo_amount,
            required_board_confirmations: params.required_board_confirmations as usize,
            max_user_invoice_cltv_delta: params.max_user_invoice_cltv_delta,
            min_board_amount: params.min_board_amount,
            offboard_feerate: self.announce_offboard_fee_rate().await?,
            max_offboard_inputs: params.max_offboard_inputs,
            ln_receive_anti_dos_required: params.ln_receive_anti_dos_required,
            fees: params.fees.clone(),
            max_vtxo_exit_depth: params.max_vtxo_exit_depth,
            tos_link: None,
        };
        if let Some(Action::ReplaceArkInfo { field }) = self.hook(Hook::Info)? {
            replace(&mut info, field);
        }
        Ok(info.into())
    }

    /// `GetOffboardFeeRate`.
    pub(super) async fn get_offboard_fee_rate(
        &self,
        _request: protos::Empty,
    ) -> Result<protos::OffboardFeeRateResponse, RpcError> {
        // The field's name says per kvB; clients divide by 4 and read it as sat/kwu (docs/protocol.md §30.2).
        Ok(protos::OffboardFeeRateResponse {
            sat_vkb: self.announce_offboard_fee_rate().await?.to_sat_per_kwu() * 4,
        })
    }
}

fn replace(info: &mut ArkInfo, field: InfoFault) {
    let other_key = || Keypair::new(&*SECP, &mut thread_rng()).public_key();
    match field {
        InfoFault::ExitDelta => info.vtxo_exit_delta = BlockDelta::ZERO,
        InfoFault::NonceCount => info.nb_round_nonces = u32::MAX as usize,
        InfoFault::ServerKey => info.server_pubkey = other_key(),
        InfoFault::MailboxKey => info.mailbox_pubkey = other_key(),
        InfoFault::FeeTable => {
            info.fees.refresh.ppm_expiry_table = table(&[(100, 10), (50, 20)]);
        }
        InfoFault::RefreshFee => info.fees.refresh.ppm_expiry_table = table(&[(0, 999_000)]),
        InfoFault::RefreshBaseFee => info.fees.refresh.base_fee += Amount::from_sat(1_000),
        InfoFault::ExitDepth => info.max_vtxo_exit_depth = 1,
        InfoFault::VtxoAmount => info.max_vtxo_amount = Some(Amount::from_sat(331)),
        InfoFault::Lifetime => info.vtxo_lifetime = BlockDelta::new(1),
    }
}

fn table(entries: &[(u32, u64)]) -> Vec<PpmExpiryFeeEntry> {
    let entries = entries.iter();
    entries
        .map(|(blocks, ppm)| PpmExpiryFeeEntry {
            expiry_blocks_threshold: *blocks,
            ppm: PpmFeeRate(*ppm),
        })
        .collect()
}
