//! The start of an offboard: inputs locked, amounts and fee fixed, movement written, in one transaction.

use std::sync::Arc;

use ark_lib::offboard::OffboardRequest;
use ark_lib::{ArkInfo, VtxoId, VtxoPolicy};
use bitcoin::{Address, Amount, FeeRate, Txid};
use bitcoin_ext::BlockHeight;

use super::{Offboard, OffboardOrder};
use crate::config::FeeCeilings;
use crate::model::{
    Facts, MovementId, MovementStatus, NewMovement, OperationId, PaymentMethod, Subsystem,
    Transfer, VtxoRecord,
};
use crate::store::{WriteTx, movement, operation, vtxo};
use crate::wallet::account::ceiling::{Charge, check_fee, check_offboard_rate};
use crate::wallet::account::fees::{max_inputs, offboard_charge, sum};
use crate::wallet::account::keys;
use crate::wallet::coins::select::{self, Limits};
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::steps::end::{movement_of, signed};
use crate::wallet::engine::steps::refusal;
use crate::wallet::engine::steps::spend::{Change, Payee};
use crate::wallet::engine::{self, Answer, clock, state_of};
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

/// An offboard that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffboardOutcome {
    /// The on-chain transaction, which is signed.
    pub txid: Txid,
    /// Its movement.
    pub movement: MovementId,
    /// Whether the transaction is broadcast. Otherwise the offboard is stored and continues by itself: it must not be repeated.
    pub finished: bool,
}

/// An on-chain destination, with the conditions at which the server pays to it now.
struct Target {
    address: Address,
    info: Arc<ArkInfo>,
    rate: FeeRate,
    tip: BlockHeight,
    ceilings: FeeCeilings,
}

impl Target {
    fn request(&self, net: Amount, deduct: bool) -> Result<OffboardRequest> {
        let script_pubkey = self.address.script_pubkey();
        let dust = script_pubkey.minimal_non_dust();
        let request = OffboardRequest {
            script_pubkey,
            net_amount: net,
            deduct_fees_from_gross_amount: deduct,
            fee_rate: self.rate,
        };
        if net < dust || request.validate().is_err() {
            let message = format!(
                "{} sat is below the dust limit of this address; pay {} sat or more",
                net.to_sat(),
                dust.to_sat()
            );
            return Err(Error::bad_request("amount_too_small", message));
        }
        Ok(request)
    }

    fn sent_to(&self, amount: Amount) -> Transfer {
        Transfer {
            method: PaymentMethod::Bitcoin(self.address.to_string()),
            amount,
        }
    }
}

impl Wallet {
    /// Takes these VTXOs on chain as a whole, to an address or, without one, to the on-chain wallet. The fee is deducted from
    /// their amount. Returns when the transaction is broadcast, or after a while when the offboard continues by itself.
    ///
    /// # Errors
    /// `no_vtxos`, `duplicate_vtxo`, `unknown_vtxo`, `vtxo_not_spendable`, `too_many_inputs`, `amount_too_small`,
    /// `fee_above_ceiling`, a bad address, a refusal of the server: then nothing was paid. `still_in_progress`: the offboard goes on by
    /// itself, and its transaction is not signed yet.
    pub async fn offboard_vtxos(
        self: &Arc<Wallet>,
        vtxos: Vec<VtxoId>,
        address: Option<&str>,
    ) -> Result<OffboardOutcome> {
        select::check_named(&vtxos, "offboard")?;
        let target = self.offboard_target(address).await?;
        let most = max_inputs(&target.info);
        if vtxos.len() > most {
            let message = format!(
                "an offboard takes at most {most} VTXOs; offboard in several parts, or refresh them into one first"
            );
            return Err(Error::bad_request("too_many_inputs", message));
        }
        let id = OperationId::random();
        let started = self.start(id.clone(), CommitPoint::OffboardStarted, move |tx, id| {
            let inputs = vtxos
                .iter()
                .map(|id| select::named(tx, *id, "offboarded"))
                .collect::<Result<Vec<_>>>()?;
            start_whole(tx, id, &target, &inputs)
        });
        let progress = started.await?;
        let answer = engine::answer(progress, PATIENCE).await?;
        self.offboard_outcome(id, answer).await
    }

    /// Takes every spendable VTXO on chain, without those that the server refuses.
    ///
    /// # Errors
    /// As [`offboard_vtxos`](Self::offboard_vtxos); `no_vtxos` when there is none.
    pub async fn offboard_all(
        self: &Arc<Wallet>,
        address: Option<&str>,
    ) -> Result<OffboardOutcome> {
        refusal::without_refused(|| async move {
            let live = self.store.live_vtxos();
            let all = live.iter().filter(|vtxo| select::is_free(vtxo));
            let all = all.map(|vtxo| vtxo.id).collect();
            self.offboard_vtxos(all, address).await
        })
        .await
    }

    /// Pays this amount to an on-chain address out of VTXOs; the fee is added to it. Returns when the transaction is broadcast,
    /// or after a while when the payment continues by itself.
    ///
    /// # Errors
    /// As [`offboard_vtxos`](Self::offboard_vtxos), and `insufficient_funds`.
    pub async fn send_onchain(
        self: &Arc<Wallet>,
        address: &str,
        amount: Amount,
    ) -> Result<OffboardOutcome> {
        refusal::without_refused(|| self.offboard_amount(address, amount)).await
    }

    async fn offboard_amount(
        self: &Arc<Wallet>,
        address: &str,
        amount: Amount,
    ) -> Result<OffboardOutcome> {
        let target = self.offboard_target(Some(address)).await?;
        let limits = Limits {
            tip: target.tip,
            max_exit_depth: target.info.max_vtxo_exit_depth,
        };
        let id = OperationId::random();
        let (keys, pieces) = (self.keys.clone(), self.settings.change_pieces);
        let started = self.start(id.clone(), CommitPoint::OffboardStarted, move |tx, id| {
            let request = target.request(amount, false)?;
            let script = request.script_pubkey.clone();
            let charge = |vtxos: &[Arc<VtxoRecord>]| {
                offboard_charge(
                    &target.info,
                    &script,
                    amount,
                    target.rate,
                    vtxos,
                    target.tip,
                )
            };
            let (inputs, needed) =
                select::select_for(tx, limits, max_inputs(&target.info), |vtxos| {
                    amount.checked_add(charge(vtxos)?)
                })?;
            let fee = needed - amount;
            check_fee(&target.ceilings, Charge::Offboard, fee, amount)?;
            let exact = Payee {
                policy: VtxoPolicy::new_pubkey(keys::reveal_next(tx, &keys)?.pubkey),
                amount: needed,
            };
            let change = Change {
                key: keys::reveal_next(tx, &keys)?.index,
                pieces,
            };
            let signing = Signing::begin(tx, id, &inputs, exact, change)?;
            let movement = NewMovement {
                operation: Some(id),
                status: MovementStatus::Pending,
                subsystem: Subsystem::SendOnchain,
                intended_balance: -signed(amount)?,
                effective_balance: -signed(needed)?,
                offchain_fee: fee,
                sent_to: &[target.sent_to(amount)],
                received_on: &[],
                input_vtxos: &signing.spend().inputs,
                output_vtxos: &[],
                metadata: Facts::default(),
            };
            movement::insert(tx, &movement, clock::now_millis())?;
            Ok(Offboard::Split { request, signing })
        });
        let progress = started.await?;
        let answer = engine::answer(progress, PATIENCE).await?;
        self.offboard_outcome(id, answer).await
    }

    async fn offboard_target(&self, address: Option<&str>) -> Result<Target> {
        let address = address
            .map(|address| self.bitcoin_address(address))
            .transpose()?;
        let info = self.awaited_info().await?;
        let (rate, ceilings) = (
            self.server.offboard_fee_rate().await?,
            self.settings.ceilings,
        );
        check_offboard_rate(&ceilings, rate)?;
        Ok(Target {
            rate,
            ceilings,
            tip: self.chain.tip().await?.height,
            info,
            address: match address {
                Some(address) => address,
                None => self.next_onchain_address().await?,
            },
        })
    }

    /// The outcome of the offboard with this operation id, as of now.
    ///
    /// # Errors
    /// `still_in_progress` while its transaction is not signed.
    pub(in crate::wallet) async fn offboard_outcome(
        &self,
        id: OperationId,
        answer: Answer,
    ) -> Result<OffboardOutcome> {
        let (offboard, movement) = self
            .store
            .read(move |connection| {
                let movement = movement_of(connection, &id)?;
                let missing = || Error::internal(anyhow::anyhow!("offboard {id} has no row"));
                let row = operation::get(connection, &id)?.ok_or_else(missing)?;
                Ok::<_, Error>((state_of::<Offboard>(&row)?, movement))
            })
            .await?;
        Ok(OffboardOutcome {
            txid: offboard
                .txid()
                .ok_or_else(|| Error::still_in_progress("on-chain payment", movement))?,
            movement,
            finished: answer == Answer::Complete,
        })
    }
}

fn start_whole(
    tx: &mut WriteTx<'_>,
    id: &OperationId,
    target: &Target,
    inputs: &[Arc<VtxoRecord>],
) -> Result<Offboard> {
    let gross = sum(inputs.iter().map(|input| input.amount))?;
    let script = target.address.script_pubkey();
    let fee = offboard_charge(
        &target.info,
        &script,
        gross,
        target.rate,
        inputs,
        target.tip,
    );
    if let Some(fee) = fee {
        check_fee(&target.ceilings, Charge::Offboard, fee, gross)?;
    }
    let net = fee.and_then(|fee| gross.checked_sub(fee));
    let (fee, net) = fee.zip(net).ok_or_else(|| {
        let message = format!(
            "the fee is more than the {} sat that would go on chain",
            gross.to_sat()
        );
        Error::bad_request("amount_too_small", message)
    })?;
    let request = target.request(net, true)?;
    for input in inputs {
        vtxo::lock(tx, input.id, id)?;
    }
    let mut ids: Vec<VtxoId> = inputs.iter().map(|input| input.id).collect();
    ids.sort_unstable();
    let movement = NewMovement {
        operation: Some(id),
        status: MovementStatus::Pending,
        subsystem: Subsystem::Offboard,
        intended_balance: -signed(gross)?,
        effective_balance: -signed(gross)?,
        offchain_fee: fee,
        sent_to: &[target.sent_to(net)],
        received_on: &[],
        input_vtxos: &ids,
        output_vtxos: &[],
        metadata: Facts::default(),
    };
    movement::insert(tx, &movement, clock::now_millis())?;
    Ok(Offboard::RegisterWhole(OffboardOrder {
        inputs: ids,
        request,
    }))
}
