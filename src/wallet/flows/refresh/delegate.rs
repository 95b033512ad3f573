//! Delegated participations: the server carries them out without the wallet (docs/protocol.md §4.5.3).
//!
//! The inputs stay spendable until the round is issued. If another operation spends some of them first, the wallet submits a
//! participation with the rest.

use ark_lib::attestations::DelegatedRoundParticipationAttestation;
use ark_lib::tree::signed::UnlockHash;
use rusqlite::Connection;

use super::plan::{Mode, Plan, inputs_gone};
use super::resolve::{MAX_FAILED_ATTEMPTS, issue, not_signed};
use super::{POLL_INTERVAL, Round, abort};
use crate::ark::{self, ParticipationStatus};
use crate::model::{MovementStatus, OperationId};
use crate::store::operation;
use crate::wallet::engine::steps::refusal::{self, Unusable};
use crate::wallet::engine::{Next, Step, Tries, back_off, state_of};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Submits the participation. The server replaces an earlier participation with the same inputs, so submitting again after a
/// lost answer is safe; if the server carries out the earlier one, its mailbox message reports that, and gives this refresh the
/// state that it would have after the lost answer.
pub(super) async fn submit(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    tries: Tries,
) -> Result<Step<Round>> {
    let row_id = id.clone();
    let reported = wallet
        .store
        .read(move |connection| reported(connection, &row_id))
        .await?;
    if let Some(delegated) = reported {
        let next = Next::State(delegated);
        return Ok(Step::commit(CommitPoint::RoundDelegated, next, |_| Ok(())));
    }
    Ok(unless_reported(id, attempt(wallet, id, plan, tries).await?))
}

async fn attempt(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    tries: Tries,
) -> Result<Step<Round>> {
    if plan.load_available(wallet, id).await?.is_empty() {
        return Ok(abort(id, MovementStatus::Canceled, inputs_gone()));
    }
    if let Some(step) = shrink(wallet, id, &plan).await? {
        return Ok(step);
    }
    let requests = plan.requests(&wallet.keys)?;
    let inputs = wallet.signers(plan.inputs.clone()).await?;
    let attestations: Vec<_> = inputs
        .iter()
        .map(|(input, key)| {
            let id = input.id();
            let attestation = DelegatedRoundParticipationAttestation::new(id, &requests, key);
            (id, attestation)
        })
        .collect();
    let submitted = wallet
        .server
        .submit_participation(
            &attestations,
            &requests,
            &wallet.keys.mailbox_id(),
            plan.scheduled(),
        )
        .await;
    let unlock_hash = match submitted {
        Ok(hash) => hash,
        Err(error @ ark::Error::Rejected { .. }) if tries.earlier && !tries.exhausted() => {
            // An earlier try may have been carried out; the mailbox message about it is on its way.
            return Err(Error::unavailable("server_unavailable", error.to_string()));
        }
        Err(ark::Error::Rejected { message, vtxos }) => {
            // After a try of unclear outcome, a refusal may be about what that try has done.
            let unusable = if tries.earlier {
                Vec::new()
            } else {
                refusal::unusable(wallet, &plan.inputs, &message, &vtxos).await
            };
            if !unusable.is_empty() && unusable.len() < plan.inputs.len() {
                return Ok(without(plan, unusable));
            }
            let message =
                format!("the Ark server refuses the refresh, nothing was refreshed: {message}");
            let reason = Error::conflict("input_refused", message);
            return Ok(refusal::abort(
                CommitPoint::RoundAborted,
                id,
                reason,
                unusable,
            ));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Step::commit(
        CommitPoint::RoundDelegated,
        Next::State(Round::Delegated { plan, unlock_hash }),
        |_| Ok(()),
    ))
}

/// The state that a mailbox message has given this refresh since its driver took it up.
fn reported(connection: &Connection, id: &OperationId) -> Result<Option<Round>> {
    let row = operation::get(connection, id)?;
    let state = row.map(|row| state_of(&row)).transpose()?;
    Ok(state.filter(|state| matches!(state, Round::Delegated { .. })))
}

/// The step, whose commit fails if a mailbox message has meanwhile reported the round; the next try finds that.
fn unless_reported(id: &OperationId, step: Step<Round>) -> Step<Round> {
    let Step::Commit {
        point,
        next,
        writes,
    } = step
    else {
        return step;
    };
    let id = id.clone();
    Step::commit(point, next, move |tx| {
        if reported(tx, &id)?.is_some() {
            let message = "the round of an earlier submission was reported meanwhile";
            return Err(Error::unavailable("server_unavailable", message));
        }
        writes(tx)
    })
}

/// Submits the participation again without the inputs that the server refuses, which are set aside (H51).
fn without(plan: Plan, unusable: Vec<Unusable>) -> Step<Round> {
    tracing::warn!(
        refused = unusable.len(),
        "the Ark server refuses inputs of a delegated refresh; going on without them"
    );
    Step::commit(
        CommitPoint::RoundShrunk,
        Next::State(Round::Delegate(plan)),
        move |tx| refusal::set_all_aside(tx, &unusable),
    )
}

/// Queries the participation: at each round event, block and mailbox message about it, and at a regular interval.
pub(super) async fn follow(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    unlock_hash: UnlockHash,
) -> Result<Step<Round>> {
    match wallet.server.participation_status(unlock_hash).await? {
        ParticipationStatus::Issued(round) => {
            issue(wallet, id, plan, unlock_hash, round, None).await
        }
        ParticipationStatus::Unsigned => Err(not_signed()),
        ParticipationStatus::Pending => Ok(shrink(wallet, id, &plan)
            .await?
            .unwrap_or(Step::AwaitRound(POLL_INTERVAL))),
        ParticipationStatus::Unknown => delegate_again(wallet, id, plan).await,
    }
}

/// Goes on after the server has dropped the participation, as it does when an input is in use when the round begins: delegates
/// again what is left, or ends the refresh. Its inputs were never locked.
async fn delegate_again(wallet: &Wallet, id: &OperationId, mut plan: Plan) -> Result<Step<Round>> {
    if plan.load_available(wallet, id).await?.is_empty() {
        return Ok(abort(id, MovementStatus::Failed, inputs_gone()));
    }
    plan.failed_attempts = plan.failed_attempts.saturating_add(1);
    if plan.mode == Mode::Recovered || plan.failed_attempts >= MAX_FAILED_ATTEMPTS {
        let reason = Error::conflict(
            "participation_dropped",
            "the Ark server has dropped the refresh; nothing was given up",
        );
        return Ok(abort(id, MovementStatus::Failed, reason));
    }
    if let Some(step) = shrink(wallet, id, &plan).await? {
        return Ok(step);
    }
    tracing::warn!("the Ark server has dropped a delegated refresh; delegating it again");
    let pause = back_off(plan.failed_attempts);
    Ok(Step::commit(
        CommitPoint::RoundMissed,
        Next::Later(Round::Delegate(plan), pause),
        |_| Ok(()),
    ))
}

/// The step to a smaller plan if some of the inputs were spent. `None` if all are left, and if none is: then the wallet's own
/// round may have spent them, and the participation's status decides.
async fn shrink(wallet: &Wallet, id: &OperationId, plan: &Plan) -> Result<Option<Step<Round>>> {
    if plan.mode == Mode::Recovered {
        return Ok(None);
    }
    let available = plan.load_available(wallet, id).await?;
    if available.is_empty() || available.len() == plan.inputs.len() {
        return Ok(None);
    }
    let info = wallet.connected_info()?;
    let tip = wallet.chain.tip().await?.height;
    let smaller = match plan.shrink(&info, &wallet.settings.ceilings, &available, tip) {
        Ok(smaller) => smaller,
        Err(reason) => return Ok(Some(abort(id, MovementStatus::Canceled, reason))),
    };
    tracing::info!(
        left = available.len(),
        of = plan.inputs.len(),
        "some inputs of a delegated refresh were spent; submitting the rest"
    );
    let (id, revised) = (id.clone(), smaller.clone());
    Ok(Some(Step::commit(
        CommitPoint::RoundShrunk,
        Next::State(Round::Delegate(smaller)),
        move |tx| revised.revise_movement(tx, &id),
    )))
}
