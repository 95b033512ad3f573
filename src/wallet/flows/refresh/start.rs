//! The start of a refresh: what is swapped for what, fixed in one transaction before the server hears of it.

use std::sync::Arc;

use ark_lib::VtxoId;
use bitcoin::SignedAmount;
use bitcoin_ext::BlockHeight;
use tokio::sync::watch;

use super::Round;
use super::pending::PendingRound;
use super::plan::{Mode, Output, Plan, quote};
use crate::model::OperationId;
use crate::model::VtxoRecord;
use crate::model::{MovementStatus, NewMovement, Subsystem};
use crate::store::movement;
use crate::store::vtxo_body;
use crate::store::{WriteTx, key};
use crate::wallet::account::keys;
use crate::wallet::coins::select;
use crate::wallet::engine::clock;
use crate::wallet::engine::{self, Progress};
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

/// The most VTXOs of one refresh: all forfeits go to the server in one request.
pub(super) const MAX_INPUTS: usize = 1000;

impl Wallet {
    /// Refreshes these VTXOs in the next round. They stay free until it begins; if some are spent before, the rest is
    /// refreshed. One that the server refuses stops the whole refresh.
    ///
    /// # Errors
    /// `no_vtxos`, `duplicate_vtxo`, `unknown_vtxo`, `vtxo_not_spendable`, `amount_too_small` when the fee leaves less than a
    /// VTXO holds (docs/protocol.md §4.5), or `server_unavailable`; then nothing was started.
    pub async fn refresh_vtxos(self: &Arc<Wallet>, vtxos: Vec<VtxoId>) -> Result<PendingRound> {
        let (id, progress) = self.start_refresh(vtxos, Mode::Interactive).await?;
        engine::answer(progress, PATIENCE).await?;
        self.pending_round(&id).await
    }

    /// Leaves a refresh of these VTXOs with the server, which carries it out in its next round, or in the first one from
    /// `height` on, and charges the fee of that height. The VTXOs stay free until then.
    ///
    /// # Errors
    /// As [`refresh_vtxos`](Self::refresh_vtxos), also `height_too_late` when one expires before, and `input_refused` when
    /// the server refuses.
    pub async fn refresh_delegated(
        self: &Arc<Wallet>,
        vtxos: Vec<VtxoId>,
        height: Option<BlockHeight>,
    ) -> Result<PendingRound> {
        let scheduled = height.map(BlockHeight::to_u32);
        let (id, progress) = self
            .start_refresh(vtxos, Mode::Delegated { scheduled })
            .await?;
        engine::answer(progress, PATIENCE).await?;
        self.pending_round(&id).await
    }

    /// Refreshes every spendable VTXO in the next round, those first that expire first.
    ///
    /// # Errors
    /// As [`refresh_vtxos`](Self::refresh_vtxos); `no_vtxos` when there is none.
    pub async fn refresh_all(self: &Arc<Wallet>) -> Result<PendingRound> {
        let live = self.store.live_vtxos();
        let ids = live
            .iter()
            .filter(|vtxo| select::is_free(vtxo))
            .map(|vtxo| vtxo.id)
            .take(MAX_INPUTS);
        self.refresh_vtxos(ids.collect()).await
    }

    /// Refreshes those VTXOs for which one has to trust that an earlier owner and the server do not collude: some payment
    /// that led to them was signed by none of our keys.
    ///
    /// # Errors
    /// As [`refresh_vtxos`](Self::refresh_vtxos); `no_counterparty_vtxos` when there is none.
    pub async fn refresh_counterparty(self: &Arc<Wallet>) -> Result<PendingRound> {
        let live = self.store.live_vtxos();
        let candidates: Vec<VtxoId> = live
            .iter()
            .filter(|vtxo| select::is_free(vtxo))
            .map(|vtxo| vtxo.id)
            .collect();
        let risky = self
            .store
            .read(move |connection| {
                let mut risky = Vec::new();
                for id in candidates {
                    let transitions = vtxo_body::get(connection, id)?.past_arkoor_pubkeys();
                    for owners in transitions {
                        let ours = owners
                            .iter()
                            .map(|owner| key::index_of(connection, owner))
                            .collect::<Result<Vec<_>, _>>()?;
                        if ours.iter().all(Option::is_none) {
                            risky.push(id);
                            break;
                        }
                    }
                }
                Ok::<_, Error>(risky)
            })
            .await?;
        if risky.is_empty() {
            let message =
                "every VTXO of the wallet comes from a round, a board, or its own payments";
            return Err(Error::no_such_thing("no_counterparty_vtxos", message));
        }
        self.refresh_vtxos(risky.into_iter().take(MAX_INPUTS).collect())
            .await
    }

    pub(super) async fn start_refresh(
        self: &Arc<Wallet>,
        vtxos: Vec<VtxoId>,
        mode: Mode,
    ) -> Result<(OperationId, watch::Receiver<Progress>)> {
        check_list(&vtxos)?;
        let info = self.connected_info()?;
        let tip = self.chain.tip().await?.height;
        let id = OperationId::random();
        let keys = self.keys.clone();
        let started = self.start(id.clone(), CommitPoint::RoundStarted, move |tx, id| {
            let inputs = vtxos
                .iter()
                .map(|id| select::named(tx, *id, "refreshed"))
                .collect::<Result<Vec<_>>>()?;
            let mut plan = Plan {
                mode,
                inputs: vtxos,
                outputs: Vec::new(),
                fee: bitcoin::Amount::ZERO,
                tried: None,
                failures: 0,
            };
            check_schedule(&plan, &inputs)?;
            let height = plan.scheduled().map_or(tip, |height| height.max(tip));
            let quote = quote(&info, &inputs, height)?;
            plan.fee = quote.fee;
            for amount in quote.pieces {
                let key = keys::reveal_next(tx, &keys)?.index;
                plan.outputs.push(Output { key, amount });
            }
            enter_movement(tx, id, &plan)?;
            Ok(match plan.mode {
                _ if inputs.iter().any(|input| !input.registered) => Round::Prepare(plan),
                Mode::Interactive | Mode::Maintenance => Round::Wait(plan),
                Mode::Delegated { .. } | Mode::Adopted => Round::Delegate(plan),
            })
        });
        let progress = started.await?;
        Ok((id, progress))
    }
}

/// Writes the history's entry.
pub(super) fn enter_movement(tx: &WriteTx<'_>, id: &OperationId, plan: &Plan) -> Result<()> {
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
        metadata: serde_json::Map::new(),
    };
    movement::insert(tx, &movement, clock::now_millis())?;
    Ok(())
}

fn check_list(vtxos: &[VtxoId]) -> Result<()> {
    select::check_named(vtxos, "refresh")?;
    if vtxos.len() > MAX_INPUTS {
        let message = format!("a refresh takes {MAX_INPUTS} VTXOs at most");
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
