//! What the Ark server's part of an operation costs, before it is started (docs/protocol.md §5).
//!
//! An estimate is computed by the very function that the operation charges by, from the same VTXOs, at the same height. Only
//! what cannot be paid at the moment is estimated otherwise: as if one VTXO of that amount paid it that expires in the
//! farthest future, which is the dearest.

use std::sync::Arc;

use ark_lib::fees::VtxoFeeInfo;
use ark_lib::{ArkInfo, VtxoId};
use bitcoin::{Amount, FeeRate, ScriptBuf};
use bitcoin_ext::BlockHeight;

use crate::model::VtxoRecord;
use crate::wallet::coins::select::{self, Limits};
use crate::wallet::flows::board;
use crate::wallet::{Error, Result, Wallet};

/// What an operation costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeEstimate {
    /// What leaves the payer.
    pub gross: Amount,
    /// What the server takes of it.
    pub fee: Amount,
    /// What arrives.
    pub net: Amount,
    /// The VTXOs that would pay; empty when there are not enough.
    pub vtxos: Vec<VtxoId>,
}

impl FeeEstimate {
    /// The fee comes out of the amount.
    fn out_of(gross: Amount, fee: Amount, vtxos: Vec<VtxoId>) -> FeeEstimate {
        FeeEstimate {
            gross,
            fee,
            net: gross.checked_sub(fee).unwrap_or(Amount::ZERO),
            vtxos,
        }
    }

    /// The fee comes on top of the amount.
    fn on_top(net: Amount, fee: Amount, vtxos: Vec<VtxoId>) -> Result<FeeEstimate> {
        Ok(FeeEstimate {
            gross: net.checked_add(fee).ok_or_else(too_much)?,
            fee,
            net,
            vtxos,
        })
    }
}

impl Wallet {
    /// What boarding this much costs, its on-chain fee aside.
    ///
    /// # Errors
    /// `amount_too_small` or `amount_too_large` by the server's limits, `server_unavailable`.
    pub fn board_fee(&self, amount: Amount) -> Result<FeeEstimate> {
        let info = self.connected_info()?;
        board::check_limits(&info, amount)?;
        let fee = board::board_fee(&info, amount)?;
        Ok(FeeEstimate::out_of(amount, fee, Vec::new()))
    }

    /// What taking these VTXOs to an on-chain address costs.
    ///
    /// # Errors
    /// `unknown_vtxo`, a bad address, `server_unavailable`.
    pub async fn offboard_fee(&self, vtxos: Vec<VtxoId>, address: &str) -> Result<FeeEstimate> {
        select::check_named(&vtxos, "offboard")?;
        let records = self.records(vtxos).await?;
        self.estimate_offboard(&records, address).await
    }

    /// What taking every spendable VTXO to an on-chain address costs. Arrives nothing when the fee eats it up.
    ///
    /// # Errors
    /// A bad address, `server_unavailable`.
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
        let info = self.connected_info()?;
        let rate = self.server.offboard_fee_rate().await?;
        let tip = self.chain.tip().await?.height;
        let amounts = vtxos.iter().map(|vtxo| vtxo.amount);
        let gross = sum(amounts)?;
        let fee = offboard_charge(&info, &script, gross, rate, vtxos, tip).ok_or_else(too_much)?;
        let ids = vtxos.iter().map(|vtxo| vtxo.id).collect();
        Ok(FeeEstimate::out_of(gross, fee, ids))
    }

    /// What paying this much to an on-chain address costs, on top of it.
    ///
    /// # Errors
    /// A bad address, `server_unavailable`, `amount_too_large` for one that overflows.
    pub async fn send_onchain_fee(&self, address: &str, amount: Amount) -> Result<FeeEstimate> {
        let script = self.bitcoin_address(address)?.script_pubkey();
        let info = self.connected_info()?;
        let rate = self.server.offboard_fee_rate().await?;
        let limits = self.limits(&info).await?;
        let max_inputs = info.max_offboard_inputs;
        let charge = move |vtxos: &[VtxoFeeInfo]| {
            let infos = vtxos.iter().copied();
            info.fees.offboard.calculate(&script, amount, rate, infos)
        };
        self.estimate_payment(amount, limits, max_inputs, charge)
            .await
    }

    /// What paying this much over Lightning costs, on top of it.
    ///
    /// # Errors
    /// `server_unavailable`, `amount_too_large` for one that overflows.
    pub async fn lightning_send_fee(&self, amount: Amount) -> Result<FeeEstimate> {
        let info = self.connected_info()?;
        let limits = self.limits(&info).await?;
        let charge = move |vtxos: &[VtxoFeeInfo]| {
            let infos = vtxos.iter().copied();
            info.fees.lightning_send.calculate(amount, infos)
        };
        self.estimate_payment(amount, limits, usize::MAX, charge)
            .await
    }

    /// What receiving this much over Lightning costs, out of it.
    ///
    /// # Errors
    /// `server_unavailable`, `amount_too_large` for more than the server puts into a VTXO.
    pub fn lightning_receive_fee(&self, amount: Amount) -> Result<FeeEstimate> {
        let info = self.connected_info()?;
        if info.max_vtxo_amount.is_some_and(|most| amount > most) {
            let message = "the Ark server puts less than that into one VTXO; receive in parts";
            return Err(Error::bad_request("amount_too_large", message));
        }
        let fee = info.fees.lightning_receive.calculate(amount);
        Ok(FeeEstimate::out_of(
            amount,
            fee.ok_or_else(too_much)?,
            Vec::new(),
        ))
    }

    /// What a payment with a fee on top would take, or, when it cannot be paid now, would take at worst.
    async fn estimate_payment(
        &self,
        amount: Amount,
        limits: Limits,
        max_inputs: usize,
        charge: impl Fn(&[VtxoFeeInfo]) -> Option<Amount> + Send + 'static,
    ) -> Result<FeeEstimate> {
        if amount > Amount::MAX_MONEY {
            return Err(too_much());
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
                        let fee = fee_for(&vtxos).ok_or_else(too_much)?;
                        let ids = vtxos.iter().map(|vtxo| vtxo.id).collect();
                        FeeEstimate::on_top(amount, fee, ids)
                    }
                    Err(_) => {
                        let fee = charge(&[dearest]).ok_or_else(too_much)?;
                        FeeEstimate::on_top(amount, fee, Vec::new())
                    }
                }
            })
            .await
    }

    /// What a VTXO must be like to be spent now.
    pub(in crate::wallet) async fn limits(&self, info: &ArkInfo) -> Result<Limits> {
        Ok(Limits {
            tip: self.chain.tip().await?.height,
            max_exit_depth: info.max_vtxo_exit_depth,
        })
    }

    async fn records(&self, ids: Vec<VtxoId>) -> Result<Vec<Arc<VtxoRecord>>> {
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            records.push(self.vtxo(id).await?);
        }
        Ok(records)
    }
}

/// The server's part of an offboard. `amount` is before the fee when it comes out of the VTXOs as a whole, after it when it
/// comes on top. `None` when it overflows.
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

/// The sum, as long as there is that much money.
pub(in crate::wallet) fn sum(amounts: impl IntoIterator<Item = Amount>) -> Result<Amount> {
    amounts
        .into_iter()
        .try_fold(Amount::ZERO, Amount::checked_add)
        .ok_or_else(too_much)
}

fn too_much() -> Error {
    Error::bad_request(
        "amount_too_large",
        "the amount overflows with its fee; take less",
    )
}
