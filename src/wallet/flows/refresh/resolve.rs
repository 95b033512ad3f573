//! The result of a participation: queried from the server, checked and stored; or the attempt is left
//! (docs/protocol.md §4.5.1).

use ark_lib::Vtxo;
use ark_lib::tree::signed::UnlockHash;
use bitcoin_ext::BlockDelta;

use super::attempt_id::AttemptId;
use super::check_issued::{self, ExpectedRound};
use super::plan::{LastTry, Plan, Rejoin};
use super::{Exchange, JoinedAttempt, POLL_INTERVAL, Round, SignedTree, abort, bodies, expiry};
use crate::ark::{IssuedRound, ParticipationStatus};
use crate::model::{MovementStatus, OperationId};
use crate::store::vtxo;
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Failed attempts after which a refresh is aborted.
const MAX_FAILED_ATTEMPTS: u32 = 5;

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
        if !matches!(status, ParticipationStatus::Issued(_)) {
            return Ok(Step::AwaitRound(POLL_INTERVAL));
        }
    }
    resolve(wallet, id, joined, Some(tree)).await
}

/// Queries the result of an attempt that is over, or in which the wallet cannot sign. Nothing was forfeited yet, so a false
/// answer costs nothing.
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
    match wallet.server.participation_status(unlock_hash).await? {
        ParticipationStatus::Issued(round) => {
            let step = issue(wallet, id, plan, unlock_hash, round, tree.as_ref()).await?;
            wallet.attempt_keys.remove(id);
            Ok(step)
        }
        ParticipationStatus::Pending | ParticipationStatus::Unknown => {
            // A participant that did not sign is refused in the later attempts of the round.
            let rejoin = match tree {
                Some(_) => Rejoin::NextAttempt,
                None => Rejoin::NextRound,
            };
            let reason = "the attempt failed";
            Ok(leave_attempt(wallet, id, plan, attempt, rejoin, reason))
        }
    }
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
    let info = wallet.connected_info()?;
    let inputs = wallet.full_vtxos(plan.inputs.clone()).await?;
    let requests = plan.requests(&wallet.keys)?;
    let after_schedule = plan
        .scheduled()
        .map(|height| height.add_delta(BlockDelta::new(1)));
    let expected = ExpectedRound {
        server_pubkey: info.server_pubkey,
        exit_delta: info.vtxo_exit_delta,
        least_expiry: expiry::least_for_outputs(wallet, &inputs)
            .await?
            .max(after_schedule),
        unlock_hash,
        requests: &requests,
        signed,
    };
    check_issued::check(&round, &expected).map_err(|reason| {
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
            end::note(tx, &id, [("funding_txid", txid.to_string().into())])
        },
    ))
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
