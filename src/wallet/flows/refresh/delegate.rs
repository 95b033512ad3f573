//! The steps of a participation that is left with the server (docs/protocol.md §4.5.3).
//!
//! The inputs stay free until the round has happened: whoever spends some of them first makes the participation smaller.

use ark_lib::attestations::DelegatedRoundParticipationAttestation;
use ark_lib::tree::signed::UnlockHash;

use super::outcome::{accept, gone, issue};
use super::plan::{Mode, Plan};
use super::{Round, SAFETY_NET, abort};
use crate::ark::{self, ParticipationStatus};
use crate::model::MovementStatus;
use crate::model::OperationId;
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Leaves the participation with the server. A second one with the same inputs takes the place of the first, so an answer
/// that was lost does no harm; if the round happens on the first one, the mailbox tells.
pub(super) async fn submit(wallet: &Wallet, id: &OperationId, plan: Plan) -> Result<Step<Round>> {
    if available(wallet, id, &plan).await? == 0 {
        return Ok(abort(id, MovementStatus::Canceled, gone()));
    }
    if let Some(shrunk) = shrunk(wallet, id, &plan).await? {
        return Ok(shrunk);
    }
    let requests = plan.requests(&wallet.keys)?;
    let inputs = wallet.signers(plan.inputs.clone()).await?;
    let attestations: Vec<_> = inputs
        .iter()
        .map(|(input, key)| {
            let id = input.id();
            (
                id,
                DelegatedRoundParticipationAttestation::new(id, &requests, key),
            )
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
            let reason = Error::conflict(
                "input_refused",
                format!("the Ark server refuses the refresh, nothing was refreshed: {message}"),
            );
            let ours = vtxos.into_iter().filter(|vtxo| plan.inputs.contains(vtxo));
            let reason = reason.with_resources(ours);
            return Ok(abort(id, MovementStatus::Failed, reason));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Step::commit(
        CommitPoint::RoundDelegated,
        Next::State(Round::Delegated { plan, unlock_hash }),
        |_| Ok(()),
    ))
}

/// Asks what became of it: with each round, each block, each message, and now and then.
pub(super) async fn follow(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    unlock_hash: UnlockHash,
) -> Result<Step<Round>> {
    match wallet.server.participation_status(unlock_hash).await? {
        ParticipationStatus::Issued(round) => {
            let swap = accept(wallet, &plan, unlock_hash, round, None).await?;
            Ok(issue(id, swap))
        }
        ParticipationStatus::Pending => Ok(match shrunk(wallet, id, &plan).await? {
            Some(shrunk) => shrunk,
            None => Step::AwaitRound(SAFETY_NET),
        }),
        ParticipationStatus::Unknown => {
            let left = available(wallet, id, &plan).await?;
            let reason = if left < plan.inputs.len() {
                gone()
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

/// How many of the inputs can still be had.
async fn available(wallet: &Wallet, id: &OperationId, plan: &Plan) -> Result<usize> {
    let (plan, id) = (plan.clone(), id.clone());
    let left = wallet
        .store
        .read(move |connection| plan.available(connection, &id))
        .await?;
    Ok(left.len())
}

/// The way on when some of the inputs went elsewhere. That all did may be the doing of our own round, and decides nothing.
async fn shrunk(wallet: &Wallet, id: &OperationId, plan: &Plan) -> Result<Option<Step<Round>>> {
    if plan.mode == Mode::Adopted {
        return Ok(None);
    }
    let (wanted, operation) = (plan.clone(), id.clone());
    let left = wallet
        .store
        .read(move |connection| wanted.available(connection, &operation))
        .await?;
    if left.is_empty() || left.len() == plan.inputs.len() {
        return Ok(None);
    }
    let info = wallet.connected_info()?;
    let tip = wallet.chain.tip().await?.height;
    let Some(smaller) = plan.shrink(&info, &left, tip) else {
        return Ok(Some(abort(id, MovementStatus::Canceled, gone())));
    };
    tracing::info!(
        left = left.len(),
        of = plan.inputs.len(),
        "some coins of a refresh were spent otherwise; the rest is submitted anew"
    );
    let (id, revised) = (id.clone(), smaller.clone());
    Ok(Some(Step::commit(
        CommitPoint::RoundShrunk,
        Next::State(Round::Delegate(smaller)),
        move |tx| revised.revise_movement(tx, &id),
    )))
}
