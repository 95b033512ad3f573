//! What exits would cost.

use serde::Serialize;
use utoipa::ToSchema;

use crate::wallet::{ExitEstimate, VtxoEstimate};

/// What it would cost to exit VTXOs, and whether the on-chain wallet can pay for it now. The total is the sum of the two fees.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EmergencyExitFeeEstimateResponse {
    /// The fees of the exit transactions, in satoshis, with the margin. Confirmed coins of the on-chain wallet pay them. Transactions
    /// that several VTXOs share are counted once; those that are paid for already cost nothing.
    exit_broadcast_fee_sat: u64,
    /// The fee of the transaction that claims all exits together, in satoshis. It is deducted from what is claimed.
    claim_fee_sat: u64,
    /// The sum of both fees, in satoshis.
    total_fee_sat: u64,
    /// The fee rate of the exit transactions, in sat/vB. Unless one was given, the claim pays the regular rate.
    fee_rate_sat_per_vb: f64,
    /// The number of exit transactions that the network does not have yet.
    txs_to_broadcast: usize,
    /// Whether the on-chain balance covers `exit_broadcast_fee_sat`.
    fundable: bool,
    /// Whether the confirmed coins that nothing holds cover `exit_broadcast_fee_sat`.
    fundable_now: bool,
    /// The confirmed coins of the on-chain wallet that nothing holds, in satoshis.
    confirmed_onchain_sat: u64,
    /// The number of these coins of which each can pay for one of the next transactions.
    separate_coins: usize,
    /// The number of separate coins with which all exits go on in the next block. With fewer, the daemon splits its largest coin, or
    /// the exits go on one after the other.
    separate_coins_needed: usize,
    /// The number of blocks until everything can be claimed, if each transaction takes one.
    blocks_until_claimable: u32,
    /// Each VTXO by itself; shared transactions are counted for each of them.
    vtxos: Vec<VtxoExitEstimate>,
}

/// What it would cost to exit one VTXO alone.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VtxoExitEstimate {
    /// The VTXO, `txid:vout`.
    vtxo_id: String,
    /// The number of its exit transactions that the network does not have yet.
    txs_to_broadcast: usize,
    /// The fees of its exit transactions, in satoshis, with the margin.
    exit_broadcast_fee_sat: u64,
    /// The number of blocks until it can be claimed, if each transaction takes one.
    blocks_until_claimable: u32,
}

impl From<ExitEstimate> for EmergencyExitFeeEstimateResponse {
    fn from(estimate: ExitEstimate) -> Self {
        let (broadcast, claim) = (estimate.broadcast_fee.to_sat(), estimate.claim_fee.to_sat());
        #[allow(clippy::cast_precision_loss)] // Fee rates are far below 2^53.
        let fee_rate_sat_per_vb = estimate.fee_rate.to_sat_per_kwu() as f64 / 250.0;
        let blocks = estimate.vtxos.iter().map(|vtxo| vtxo.blocks);
        Self {
            exit_broadcast_fee_sat: broadcast,
            claim_fee_sat: claim,
            total_fee_sat: broadcast.saturating_add(claim),
            fee_rate_sat_per_vb,
            txs_to_broadcast: estimate.to_broadcast,
            fundable: estimate.fundable,
            fundable_now: estimate.is_funded(),
            confirmed_onchain_sat: estimate.confirmed.to_sat(),
            separate_coins: estimate.coins,
            separate_coins_needed: estimate.coins_wanted,
            blocks_until_claimable: blocks.max().unwrap_or(0),
            vtxos: estimate.vtxos.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<VtxoEstimate> for VtxoExitEstimate {
    fn from(estimate: VtxoEstimate) -> Self {
        Self {
            vtxo_id: estimate.vtxo.to_string(),
            txs_to_broadcast: estimate.to_broadcast,
            exit_broadcast_fee_sat: estimate.broadcast_fee.to_sat(),
            blocks_until_claimable: estimate.blocks,
        }
    }
}
