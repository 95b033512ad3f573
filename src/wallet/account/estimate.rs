//! Fee estimates: what the Ark server would charge for an operation (docs/protocol.md §5).
//!
//! An estimate uses the same formula, the same VTXOs and the same height as the operation. If the wallet cannot pay the amount
//! at present, the estimate assumes a single VTXO of that amount with the longest lifetime, which has the highest fee.

use std::sync::Arc;

use ark_lib::fees::VtxoFeeInfo;
use ark_lib::{ArkInfo, VtxoId};
use bitcoin::Amount;

use super::fees::{
    board_fee, check_board_amount, lightning_receive_fee, max_inputs, offboard_charge, overflow,
    sum,
};
use crate::model::VtxoRecord;
use crate::wallet::coins::select::{self, Limits};
use crate::wallet::{Error, Result, Wallet};

/// The cost of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeEstimate {
    /// The amount that the payer spends.
    pub gross: Amount,
    /// The Ark server's fee.
    pub fee: Amount,
    /// The net amount that the payee receives; zero if the fee exceeds the gross amount.
    pub net: Amount,
    /// The VTXOs that would pay; empty if the operation spends none or the wallet has too few.
    pub vtxos: Vec<VtxoId>,
}

impl FeeEstimate {
    /// The estimate if the fee reduces the amount.
    fn out_of(gross: Amount, fee: Amount, vtxos: Vec<VtxoId>) -> FeeEstimate {
        FeeEstimate {
            gross,
            fee,
            net: gross.checked_sub(fee).unwrap_or(Amount::ZERO),
            vtxos,
        }
    }

    /// The estimate if the fee comes on top of the amount.
    fn on_top(net: Amount, fee: Amount, vtxos: Vec<VtxoId>) -> Result<FeeEstimate> {
        Ok(FeeEstimate {
            gross: net.checked_add(fee).ok_or_else(overflow)?,
            fee,
            net,
            vtxos,
        })
    }
}

impl Wallet {
    /// Estimates a board, without the fee of its on-chain transaction.
    ///
    /// # Errors
    /// `amount_too_small` or `amount_too_large` by the server's limits; `server_unavailable`.
    pub async fn board_fee(&self, amount: Amount) -> Result<FeeEstimate> {
        let info = self.awaited_info().await?;
        check_board_amount(&info, amount)?;
        let fee = board_fee(&info, amount)?;
        Ok(FeeEstimate::out_of(amount, fee, Vec::new()))
    }

    /// Estimates the offboard of these VTXOs to an on-chain address.
    ///
    /// # Errors
    /// `no_vtxos`, `duplicate_vtxo`, `unknown_vtxo`, `invalid_address`, `wrong_network`, `server_unavailable`,
    /// `chain_unavailable`.
    pub async fn offboard_fee(&self, vtxos: Vec<VtxoId>, address: &str) -> Result<FeeEstimate> {
        select::check_named(&vtxos, "offboard")?;
        let records = self.records(vtxos).await?;
        self.estimate_offboard(&records, address).await
    }

    /// Estimates the offboard of all spendable VTXOs to an on-chain address.
    ///
    /// # Errors
    /// `invalid_address`, `wrong_network`, `server_unavailable`, `chain_unavailable`.
    pub async fn offboard_all_fee(&self, address: &str) -> Result<FeeEstimate> {
        let live = self.store.live_vtxos();
        let all: Vec<_> = live
            .iter()
            .filter(|vtxo| select::is_free(vtxo))
            .cloned()
            .collect();
        self.estimate_offboard(&all, address).await
    }

    async fn estimate_offboard(
        &self,
        vtxos: &[Arc<VtxoRecord>],
        address: &str,
    ) -> Result<FeeEstimate> {
        let script = self.bitcoin_address(address)?.script_pubkey();
        let info = self.awaited_info().await?;
        let rate = self.server.offboard_fee_rate().await?;
        let tip = self.chain.tip().await?.height;
        let amounts = vtxos.iter().map(|vtxo| vtxo.amount);
        let gross = sum(amounts)?;
        let fee = offboard_charge(&info, &script, gross, rate, vtxos, tip).ok_or_else(overflow)?;
        let ids = vtxos.iter().map(|vtxo| vtxo.id).collect();
        Ok(FeeEstimate::out_of(gross, fee, ids))
    }

    /// Estimates the payment of exactly `amount` to an on-chain address.
    ///
    /// # Errors
    /// `invalid_address`, `wrong_network`, `server_unavailable`, `chain_unavailable`; `amount_too_large` on overflow.
    pub async fn send_onchain_fee(&self, address: &str, amount: Amount) -> Result<FeeEstimate> {
        let script = self.bitcoin_address(address)?.script_pubkey();
        let info = self.awaited_info().await?;
        let rate = self.server.offboard_fee_rate().await?;
        let limits = self.limits(&info).await?;
        let most = max_inputs(&info);
        let charge = move |vtxos: &[VtxoFeeInfo]| {
            let infos = vtxos.iter().copied();
            info.fees.offboard.calculate(&script, amount, rate, infos)
        };
        self.estimate_payment(amount, limits, most, charge).await
    }

    /// Estimates a Lightning payment of exactly `amount`.
    ///
    /// # Errors
    /// `server_unavailable`, `chain_unavailable`; `amount_too_large` on overflow.
    pub async fn lightning_send_fee(&self, amount: Amount) -> Result<FeeEstimate> {
        let info = self.awaited_info().await?;
        let limits = self.limits(&info).await?;
        let charge = move |vtxos: &[VtxoFeeInfo]| {
            let infos = vtxos.iter().copied();
            info.fees.lightning_send.calculate(amount, infos)
        };
        self.estimate_payment(amount, limits, select::MAX_INPUTS, charge)
            .await
    }

    /// Estimates the receipt of a Lightning payment of `amount`, which the fee reduces.
    ///
    /// # Errors
    /// `server_unavailable`; `amount_too_large` if it exceeds the server's largest VTXO.
    pub async fn lightning_receive_fee(&self, amount: Amount) -> Result<FeeEstimate> {
        let info = self.awaited_info().await?;
        if info.max_vtxo_amount.is_some_and(|most| amount > most) {
            let message =
                "the amount is larger than the Ark server's largest VTXO; receive in several parts";
            return Err(Error::bad_request("amount_too_large", message));
        }
        let fee = lightning_receive_fee(&info, amount)?;
        Ok(FeeEstimate::out_of(amount, fee, Vec::new()))
    }

    /// Estimates a payment with the fee on top; the highest possible fee if the wallet cannot pay it now.
    async fn estimate_payment(
        &self,
        amount: Amount,
        limits: Limits,
        max_inputs: usize,
        charge: impl Fn(&[VtxoFeeInfo]) -> Option<Amount> + Send + 'static,
    ) -> Result<FeeEstimate> {
        if amount > Amount::MAX_MONEY {
            return Err(overflow());
        }
        let dearest = VtxoFeeInfo {
            amount,
            expiry_blocks: u32::MAX,
        };
        self.store
            .read(move |connection| {
                let fee_for = |vtxos: &[Arc<VtxoRecord>]| {
                    let infos: Vec<_> =
                        vtxos.iter().map(|vtxo| vtxo.fee_info(limits.tip)).collect();
                    charge(&infos)
                };
                let need = |vtxos: &[Arc<VtxoRecord>]| {
                    fee_for(vtxos).and_then(|fee| amount.checked_add(fee))
                };
                match select::select_for(connection, limits, max_inputs, need) {
                    Ok((vtxos, _)) => {
                        let fee = fee_for(&vtxos).ok_or_else(overflow)?;
                        let ids = vtxos.iter().map(|vtxo| vtxo.id).collect();
                        FeeEstimate::on_top(amount, fee, ids)
                    }
                    Err(_) => {
                        let fee = charge(&[dearest]).ok_or_else(overflow)?;
                        FeeEstimate::on_top(amount, fee, Vec::new())
                    }
                }
            })
            .await
    }

    /// The present limits of VTXOs that can be spent.
    async fn limits(&self, info: &ArkInfo) -> Result<Limits> {
        Ok(Limits {
            tip: self.chain.tip().await?.height,
            max_exit_depth: info.max_vtxo_exit_depth,
        })
    }
}
