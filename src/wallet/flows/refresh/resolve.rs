//! The result of a participation: queried from the server, checked and stored; or the attempt is left
//! (docs/protocol.md §4.5.1).

use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoRequest};
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::attempt_id::AttemptId;
use super::check_issued::{self, ExpectedRound};
use super::plan::{LastTry, Plan, Rejoin};
use super::{Exchange, JoinedAttempt, POLL_INTERVAL, Round, SignedTree, abort, bodies, expiry};
use crate::ark::{IssuedRound, ParticipationStatus};
use crate::model::{Fact, MovementStatus, OperationId};
use crate::store::vtxo;
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Failed attempts after which a refresh is aborted.
pub(super) const MAX_FAILED_ATTEMPTS: u32 = 5;

/// Waits for the end of the attempt, then queries its result. The query finds the result also if the event was missed (W13).
pub(super) async fn await_result(
    wallet: &Wallet,
    id: &OperationId,
    joined: JoinedAttempt,
    tree: SignedTree,
) -> Result<Step<Round>> {
    let answered = wallet.round_events.observed().answered;
    if !answered || wallet.round_events.is_open(joined.attempt) {
        let status = wallet
            .server
            .participation_status(joined.unlock_hash)
            .await?;
        match status {
            ParticipationStatus::Issued(_) => {}
            ParticipationStatus::Unsigned => return Err(not_signed()),
            ParticipationStatus::Pending | ParticipationStatus::Unknown => {
                return Ok(Step::AwaitRound(POLL_INTERVAL));
            }
        }
    }
    resolve(wallet, id, joined, Some(tree)).await
}

/// Queries the result of an attempt that is over, or in which the wallet cannot sign; `tree` is what it has signed. Nothing was
/// forfeited yet, so a false answer costs nothing.
pub(super) async fn resolve(
    wallet: &Wallet,
    id: &OperationId,
    joined: JoinedAttempt,
    tree: Option<SignedTree>,
) -> Result<Step<Round>> {
    let JoinedAttempt {
        plan,
        attempt,
        unlock_hash,
    } = joined;
    let (rejoin, reason) = match (wallet.server.participation_status(unlock_hash).await?, tree) {
        (ParticipationStatus::Issued(round), Some(tree)) => {
            let step = issue(wallet, id, plan, unlock_hash, round, Some(&tree)).await?;
            wallet.attempt_keys.remove(id);
            return Ok(step);
        }
        (ParticipationStatus::Unsigned, Some(_)) => return Err(not_signed()),
        // Our signatures were never sent, so no honest server can have issued our VTXOs in this attempt (H48).
        (ParticipationStatus::Issued(round), None) => {
            tracing::error!(%unlock_hash, "the Ark server reports a round as issued that the wallet has not signed; no input is forfeited");
            wallet.report_round(unlock_hash, round).await?;
            let reason = "the server reports a tree that the wallet has not signed";
            (Rejoin::NextRound, reason)
        }
        (ParticipationStatus::Pending | ParticipationStatus::Unknown, Some(_)) => {
            (Rejoin::NextAttempt, "the attempt failed")
        }
        // A participant that did not sign is refused in the later attempts of the round.
        (_, None) => (Rejoin::NextRound, "the attempt failed"),
    };
    Ok(leave_attempt(wallet, id, plan, attempt, rejoin, reason))
}

/// The error of a step that has to wait until the server has signed the transaction of a round that it has issued.
pub(super) fn not_signed() -> Error {
    Error::unavailable(
        "server_unavailable",
        "the Ark server has not signed the transaction of the round yet; nothing was given up",
    )
}

/// Checks a round that the server reports as issued, and stores it.
///
/// # Errors
/// The round is not what was asked for. The operation retries, and gives nothing up until the server corrects its answer.
pub(super) async fn issue(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    unlock_hash: UnlockHash,
    round: IssuedRound,
    signed: Option<&SignedTree>,
) -> Result<Step<Round>> {
    let inputs = wallet.full_vtxos(plan.inputs.clone()).await?;
    let requests = plan.requests(&wallet.keys)?;
    let scheduled = plan.scheduled();
    let checked = check_issue(
        wallet,
        &inputs,
        &requests,
        scheduled,
        &round,
        unlock_hash,
        signed,
    );
    checked.await?.map_err(|reason| {
        tracing::error!(%unlock_hash, reason, "the issued round is not what was asked for; no input is forfeited. If this persists, exit the inputs before they expire");
        Error::unavailable(
            "server_unavailable",
            format!("the Ark server's round is not what was asked for, nothing was given up: {reason}"),
        )
    })?;
    let IssuedRound {
        funding_tx,
        outputs,
        ..
    } = round;
    let (id, txid) = (id.clone(), funding_tx.compute_txid());
    Ok(Step::commit(
        CommitPoint::RoundIssued,
        Next::State(Round::Issued(Exchange {
            plan,
            unlock_hash,
            funding_tx,
            outputs: outputs.iter().map(Vtxo::id).collect(),
        })),
        move |tx| {
            bodies::store_issued(tx, &outputs)?;
            end::note(tx, &id, [(Fact::FundingTxid, txid.to_string().into())])
        },
    ))
}

/// Checks what a round issues for these inputs. The inner error is the first difference from what is asked for.
pub(super) async fn check_issue(
    wallet: &Wallet,
    inputs: &[Vtxo<Full>],
    requests: &[VtxoRequest],
    scheduled: Option<BlockHeight>,
    round: &IssuedRound,
    unlock_hash: UnlockHash,
    signed: Option<&SignedTree>,
) -> Result<Result<(), String>> {
    let info = wallet.connected_info()?;
    let after_schedule = scheduled.map(|height| height.add_delta(BlockDelta::new(1)));
    let least_expiry = expiry::least_for_outputs(wallet, inputs).await?;
    let expected = ExpectedRound {
        server_pubkey: info.server_pubkey,
        exit_delta: info.vtxo_exit_delta,
        least_expiry: least_expiry.max(after_schedule),
        unlock_hash,
        requests,
        signed,
    };
    Ok(check_issued::check(round, &expected))
}

/// Leaves an attempt: releases the inputs and waits for another one, or aborts after too many failed attempts.
pub(super) fn leave_attempt(
    wallet: &Wallet,
    id: &OperationId,
    mut plan: Plan,
    attempt: AttemptId,
    rejoin: Rejoin,
    reason: &str,
) -> Step<Round> {
    wallet.attempt_keys.remove(id);
    plan.failed_attempts = plan.failed_attempts.saturating_add(1);
    if plan.failed_attempts >= MAX_FAILED_ATTEMPTS {
        let message = format!("no round took the refresh; the last reason: {reason}");
        return abort(id, MovementStatus::Failed, refused(message));
    }
    tracing::warn!(
        round = attempt.round,
        attempt = attempt.attempt,
        ?rejoin,
        reason,
        "an attempt at a round failed; waiting for another one"
    );
    plan.last_try = Some(LastTry { attempt, rejoin });
    let id = id.clone();
    Step::commit(
        CommitPoint::RoundMissed,
        Next::State(Round::Wait(plan)),
        move |tx| Ok(vtxo::release(tx, &id)?),
    )
}

pub(super) fn refused(message: String) -> Error {
    Error::conflict("server_refused", message)
}
