//! The start of a refresh: inputs, outputs, fee and movement are stored in one transaction before the first remote call.

use std::sync::Arc;

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;
use tokio::sync::watch;

use super::Round;
use super::list::PendingRound;
use super::plan::{Mode, Output, Plan};
use super::quote::{fitting, quote};
use crate::model::{Facts, MovementStatus, NewMovement, OperationId, Subsystem, VtxoRecord};
use crate::store::{WriteTx, key, movement, vtxo_body};
use crate::wallet::account::keys;
use crate::wallet::coins::select;
use crate::wallet::engine::clock;
use crate::wallet::engine::{self, Progress};
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

/// The maximum number of inputs of a refresh: one request must hold all its forfeits.
pub(super) const MAX_INPUTS: usize = 1000;

impl Wallet {
    /// Refreshes these VTXOs in the next round. They stay spendable until it starts; if some are spent before, or the
    /// server refuses some, the rest is refreshed.
    ///
    /// # Errors
    /// `no_vtxos`, `duplicate_vtxo`, `unknown_vtxo`, `vtxo_not_spendable`, `amount_too_small` if the fee leaves less than a
    /// VTXO's minimum (docs/protocol.md §4.5), `too_many_outputs`, `fee_above_ceiling`, or `server_unavailable`; then nothing was
    /// started.
    pub async fn refresh_vtxos(self: &Arc<Wallet>, vtxos: Vec<VtxoId>) -> Result<PendingRound> {
        let (id, progress) = self.start_refresh(vtxos, Mode::Interactive).await?;
        engine::answer(progress, PATIENCE).await?;
        self.pending_round(&id).await
    }

    /// Delegates a refresh of these VTXOs to the server, which carries it out in its next round, or in the first one from
    /// `height` on, for the fee of that height. The VTXOs stay spendable until then.
    ///
    /// # Errors
    /// As [`refresh_vtxos`](Self::refresh_vtxos), also `height_too_late` if a VTXO expires by `height`, and
    /// `input_refused` if the server refuses.
    pub async fn refresh_delegated(
        self: &Arc<Wallet>,
        vtxos: Vec<VtxoId>,
        height: Option<BlockHeight>,
    ) -> Result<PendingRound> {
        let mode = Mode::Delegated { scheduled: height };
        let (id, progress) = self.start_refresh(vtxos, mode).await?;
        engine::answer(progress, PATIENCE).await?;
        self.pending_round(&id).await
    }

    /// Refreshes all spendable VTXOs in the next round, those that expire first if there are more than fit into one refresh.
    ///
    /// # Errors
    /// As [`refresh_vtxos`](Self::refresh_vtxos); `no_vtxos` if there is none.
    pub async fn refresh_all(self: &Arc<Wallet>) -> Result<PendingRound> {
        let info = self.connected_info()?;
        let live = self.store.live_vtxos();
        let free: Vec<_> = live.iter().filter(|vtxo| select::is_free(vtxo)).collect();
        let fitting = fitting(&info, free.iter().copied()).clamp(1, MAX_INPUTS);
        let ids = free.iter().map(|vtxo| vtxo.id).take(fitting);
        self.refresh_vtxos(ids.collect()).await
    }

    /// Refreshes the VTXOs that an earlier owner could spend again together with the server: those whose history contains a
    /// payment that none of our keys signed.
    ///
    /// # Errors
    /// As [`refresh_vtxos`](Self::refresh_vtxos); `no_counterparty_vtxos` if there is none.
    pub async fn refresh_counterparty(self: &Arc<Wallet>) -> Result<PendingRound> {
        let live = self.store.live_vtxos();
        let candidates: Vec<VtxoId> = live
            .iter()
            .filter(|vtxo| select::is_free(vtxo))
            .map(|vtxo| vtxo.id)
            .collect();
        let exposed = self
            .store
            .read(move |connection| {
                let mut exposed = Vec::new();
                for id in candidates {
                    if has_foreign_payment(connection, id)? {
                        exposed.push(id);
                    }
                }
                Ok::<_, Error>(exposed)
            })
            .await?;
        if exposed.is_empty() {
            let message =
                "every VTXO of the wallet comes from a round, a board, or its own payments";
            return Err(Error::no_such_thing("no_counterparty_vtxos", message));
        }
        self.refresh_vtxos(exposed.into_iter().take(MAX_INPUTS).collect())
            .await
    }

    /// Stores a refresh and starts to drive it.
    pub(super) async fn start_refresh(
        self: &Arc<Wallet>,
        vtxos: Vec<VtxoId>,
        mode: Mode,
    ) -> Result<(OperationId, watch::Receiver<Progress>)> {
        check_list(&vtxos)?;
        let info = self.awaited_info().await?;
        let tip = self.chain.tip().await?.height;
        let id = OperationId::random();
        let (keys, ceilings) = (self.keys.clone(), self.settings.ceilings);
        let progress = self.start(id.clone(), CommitPoint::RoundStarted, move |tx, id| {
            let inputs = vtxos
                .iter()
                .map(|id| select::named(tx, *id, "refreshed"))
                .collect::<Result<Vec<_>>>()?;
            let mut plan = Plan {
                mode,
                inputs: vtxos,
                outputs: Vec::new(),
                fee: Amount::ZERO,
                last_try: None,
                failed_attempts: 0,
                superseded: Vec::new(),
            };
            check_schedule(&plan, &inputs)?;
            let height = plan.scheduled().map_or(tip, |height| height.max(tip));
            let quote = quote(&info, &ceilings, mode.charge(), &inputs, height)?;
            plan.fee = quote.fee;
            for amount in quote.pieces {
                let key = keys::reveal_next(tx, &keys)?.index;
                plan.outputs.push(Output { key, amount });
            }
            insert_movement(tx, id, &plan)?;
            Ok(match plan.mode {
                _ if inputs.iter().any(|input| !input.registered) => Round::RegisterInputs(plan),
                Mode::Interactive | Mode::Automatic => Round::Wait(plan),
                Mode::Delegated { .. } | Mode::Recovered => Round::Delegate(plan),
            })
        });
        let progress = progress.await?;
        Ok((id, progress))
    }
}

/// Whether the history of a VTXO contains a payment that none of our keys signed.
fn has_foreign_payment(connection: &Connection, id: VtxoId) -> Result<bool> {
    for owners in vtxo_body::get(connection, id)?.past_arkoor_pubkeys() {
        let mut ours = false;
        for owner in owners {
            ours |= key::index_of(connection, &owner)?.is_some();
        }
        if !ours {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stores the movement of a refresh.
pub(super) fn insert_movement(tx: &WriteTx<'_>, id: &OperationId, plan: &Plan) -> Result<()> {
    let movement = NewMovement {
        operation: Some(id),
        status: MovementStatus::Pending,
        subsystem: Subsystem::Refresh,
        intended_balance: SignedAmount::ZERO,
        effective_balance: plan.balance_change()?,
        offchain_fee: plan.fee,
        sent_to: &[],
        received_on: &[],
        input_vtxos: &plan.inputs,
        output_vtxos: &[],
        metadata: Facts::default(),
    };
    movement::insert(tx, &movement, clock::now_millis())?;
    Ok(())
}

fn check_list(vtxos: &[VtxoId]) -> Result<()> {
    select::check_named(vtxos, "refresh")?;
    if vtxos.len() > MAX_INPUTS {
        let message =
            format!("a refresh takes at most {MAX_INPUTS} VTXOs; refresh in several parts");
        return Err(Error::bad_request("too_many_inputs", message));
    }
    Ok(())
}

fn check_schedule(plan: &Plan, inputs: &[Arc<VtxoRecord>]) -> Result<()> {
    let Some(height) = plan.scheduled() else {
        return Ok(());
    };
    match inputs.iter().find(|input| input.expiry_height <= height) {
        Some(input) => {
            let message = format!(
                "VTXO {} expires at height {}; schedule the refresh before that",
                input.id, input.expiry_height
            );
            Err(Error::bad_request("height_too_late", message))
        }
        None => Ok(()),
    }
}
