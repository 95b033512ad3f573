//! Delegated participations: the server carries them out without the wallet (docs/protocol.md §4.5.3).
//!
//! The inputs stay spendable until the round is issued. If another operation spends some of them first, the wallet submits a
//! participation with the rest.

use ark_lib::attestations::DelegatedRoundParticipationAttestation;
use ark_lib::tree::signed::UnlockHash;

use super::plan::{Mode, Plan};
use super::resolve::{inputs_gone, issue};
use super::{POLL_INTERVAL, Round, abort};
use crate::ark::{self, ParticipationStatus};
use crate::model::{MovementStatus, OperationId};
use crate::wallet::engine::steps::refusal::{self, Unusable};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Submits the participation. The server replaces an earlier participation with the same inputs, so submitting again after a
/// lost answer is safe; if the server carries out the earlier one, its mailbox message reports that.
pub(super) async fn submit(wallet: &Wallet, id: &OperationId, plan: Plan) -> Result<Step<Round>> {
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
        Err(ark::Error::Rejected { message, vtxos }) => {
            let unusable = refusal::unusable(wallet, &plan.inputs, &message, &vtxos).await;
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
        ParticipationStatus::Pending => Ok(shrink(wallet, id, &plan)
            .await?
            .unwrap_or(Step::AwaitRound(POLL_INTERVAL))),
        ParticipationStatus::Unknown => {
            let available = plan.load_available(wallet, id).await?;
            let reason = if available.len() < plan.inputs.len() {
                inputs_gone()
            } else {
                Error::conflict(
                    "participation_dropped",
                    "the Ark server has dropped the refresh; nothing was given up",
                )
            };
            Ok(abort(id, MovementStatus::Failed, reason))
        }
    }
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
    let Some(smaller) = plan.shrink(&info, &available, tip) else {
        return Ok(Some(abort(id, MovementStatus::Canceled, inputs_gone())));
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
