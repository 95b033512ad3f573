//! The steps by which an on-chain payment gets VTXOs of exactly its amount and fee: an out-of-round payment to ourselves.
//!
//! The rules are those of a [payment](crate::wallet::arkoor): the server answers the same spend again and refuses any other,
//! and a refusal frees the inputs only when no earlier try can have succeeded, the server says that an input is unspent, or a
//! round has taken one.

use std::time::Duration;

use ark_lib::{Vtxo, VtxoId};
use serde_json::json;

use super::{Offboard, Order, Payout, abort, refused};
use crate::ark;
use crate::model::OperationId;
use crate::model::VtxoState;
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Next, Step, Tries, back_off};
use crate::wallet::flows::send::doubt::{self, Holding, TAKEN_BY_ROUND};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Failures after which a payment that the server cannot know of yet is called off.
const MAX_FAILURES_BEFORE_COSIGN: u32 = 3;

pub(super) async fn register_inputs(
    wallet: &Wallet,
    id: &OperationId,
    payout: Payout,
    tries: Tries,
) -> Result<Step<Offboard>> {
    let ids = payout.split.inputs.clone();
    let inputs = wallet.full_vtxos(ids.clone()).await?;
    match wallet.server.register_chains(&inputs).await {
        Ok(()) => {}
        Err(ark::Error::Rejected { message, .. }) if payout.split.doubts == 0 => {
            return Ok(abort(id, refused(&message)));
        }
        Err(error) if tries.failed >= MAX_FAILURES_BEFORE_COSIGN && payout.split.doubts == 0 => {
            return Ok(abort(id, error.into()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Step::commit(
        CommitPoint::OffboardInputsRegistered,
        Next::State(Offboard::Split(payout)),
        move |tx| Ok(vtxo::set_registered(tx, &ids, true)?),
    ))
}

pub(super) async fn cosign(
    wallet: &Wallet,
    id: &OperationId,
    mut payout: Payout,
    tries: Tries,
) -> Result<Step<Offboard>> {
    let unsigned = wallet.build_payment(&payout.split).await?;
    let response = match wallet
        .server
        .cosign_arkoor(unsigned.package.cosign_request())
        .await
    {
        Ok(response) => response,
        Err(ark::Error::Rejected { message, .. }) => {
            if !tries.earlier && payout.split.doubts == 0 {
                return Ok(abort(id, refused(&message)));
            }
            // An earlier try may still be on its way through the server.
            payout.split.doubts = payout.split.doubts.saturating_add(1);
            let pause = back_off(payout.split.doubts);
            let doubted = Offboard::Doubted {
                payout,
                refusal: message,
            };
            return Ok(Step::commit(
                CommitPoint::OffboardDoubted,
                Next::Later(doubted, pause),
                |_| Ok(()),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let outputs = unsigned.finish(response)?;
    for output in outputs.outgoing.iter().chain(&outputs.change) {
        wallet.check_own_output(output).await?;
    }
    let mut split: Vec<VtxoId> = outputs.outgoing.iter().map(Vtxo::id).collect();
    split.sort_unstable();
    let change: Vec<VtxoId> = outputs.change.iter().map(Vtxo::id).collect();
    let next = Offboard::RegisterSplit {
        order: Order {
            inputs: split.clone(),
            request: payout.request,
        },
        change: change.clone(),
    };
    let (id, spent) = (id.clone(), payout.split.inputs);
    Ok(Step::commit(
        CommitPoint::OffboardSplit,
        Next::State(next),
        move |tx| {
            spent.iter().try_for_each(|input| vtxo::spend(tx, *input))?;
            for piece in &outputs.change {
                vtxo::insert(tx, piece, VtxoState::Spendable)?;
            }
            for piece in &outputs.outgoing {
                vtxo::insert(tx, piece, VtxoState::Locked(Some(id.clone())))?;
            }
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                let now = clock::now_millis();
                let names: Vec<String> = split.iter().map(VtxoId::to_string).collect();
                let facts = [("offboard_vtxos".to_owned(), json!(names))];
                movement::add_outputs(tx, movement, &change, now)?;
                movement::note(tx, movement, facts.into_iter().collect(), now)?;
            }
            Ok(())
        },
    ))
}

/// Goes by what the server holds of the inputs.
pub(super) async fn settle_doubt(
    wallet: &Wallet,
    id: &OperationId,
    payout: Payout,
    refusal: &str,
) -> Result<Step<Offboard>> {
    let next = match doubt::holding(wallet, id, &payout.split, refusal).await? {
        Holding::Unspent => return Ok(abort(id, refused(refusal))),
        Holding::Unregistered => Offboard::RegisterInputs(payout),
        Holding::TakenByRound => return Ok(abort(id, refused(TAKEN_BY_ROUND))),
        Holding::Spent => Offboard::Split(payout),
    };
    Ok(Step::commit(
        CommitPoint::OffboardDoubted,
        Next::Later(next, Duration::ZERO),
        |_| Ok(()),
    ))
}

pub(super) async fn register_outputs(
    wallet: &Wallet,
    order: Order,
    change: Vec<VtxoId>,
) -> Result<Step<Offboard>> {
    let all: Vec<VtxoId> = order.inputs.iter().chain(&change).copied().collect();
    let made = wallet.full_vtxos(all.clone()).await?;
    wallet.server.register_chains(&made).await?;
    Ok(Step::commit(
        CommitPoint::OffboardReady,
        Next::State(Offboard::Prepare {
            order,
            prior: Vec::new(),
        }),
        move |tx| Ok(vtxo::set_registered(tx, &all, true)?),
    ))
}
