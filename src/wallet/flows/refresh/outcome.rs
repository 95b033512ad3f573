//! What became of a participation: asked of the server, checked, and kept; or the attempt is let go (docs/protocol.md §4.5.1).

use ark_lib::tree::signed::UnlockHash;
use bitcoin_ext::BlockDelta;

use super::plan::Plan;
use super::{AttemptId, Participation, Round, SignedTree, Swap, abort, issued};
use crate::ark::{IssuedRound, ParticipationStatus};
use crate::model::MovementStatus;
use crate::model::OperationId;
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Next, Step};
use crate::wallet::flows::send::EncodedVtxo;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Attempts that may come to nothing before a refresh is given up.
const MAX_FAILURES: u32 = 5;
/// What follows on a missed attempt: the next attempt at the same round, or only another round.
pub(super) const NEXT_ATTEMPT: usize = 0;
pub(super) const NEXT_ROUND: usize = usize::MAX;

/// The attempt is over, or lost for us. The server knows which; until we give up an input, believing it costs nothing.
pub(super) async fn resolve(
    wallet: &Wallet,
    id: &OperationId,
    participation: Participation,
    tree: Option<SignedTree>,
) -> Result<Step<Round>> {
    let status = wallet
        .server
        .participation_status(participation.unlock_hash)
        .await?;
    let Participation {
        plan,
        attempt,
        unlock_hash,
    } = participation;
    match status {
        ParticipationStatus::Issued(round) => {
            let swap = accept(wallet, &plan, unlock_hash, round, tree.as_ref()).await?;
            wallet.round_secrets.forget(id);
            Ok(issue(id, swap))
        }
        ParticipationStatus::Pending | ParticipationStatus::Unknown => {
            // The server refuses in a round's later attempts who has not signed an earlier one.
            let again = if tree.is_some() {
                NEXT_ATTEMPT
            } else {
                NEXT_ROUND
            };
            Ok(missed(
                wallet,
                id,
                plan,
                attempt,
                again,
                "the attempt failed",
            ))
        }
    }
}

/// Checks what a round made for us.
///
/// # Errors
/// What is wrong with it: then nothing is given up for it, and the operation stands still for everybody to see.
pub(super) async fn accept(
    wallet: &Wallet,
    plan: &Plan,
    unlock_hash: UnlockHash,
    round: IssuedRound,
    signed: Option<&SignedTree>,
) -> Result<Swap> {
    let info = wallet.connected_info()?;
    let inputs = wallet.full_vtxos(plan.inputs.clone()).await?;
    let longest = inputs.iter().map(ark_lib::Vtxo::exit_delta).max();
    let (tip, room) = wallet
        .exit_room(longest.unwrap_or(BlockDelta::ZERO))
        .await?;
    let requests = plan.requests(&wallet.keys)?;
    let scheduled = plan.scheduled();
    let expired = inputs.iter().all(|input| input.expiry_height() <= tip);
    let after_schedule = scheduled.map(|height| height.add_delta(BlockDelta::new(1)));
    let terms = issued::Terms {
        server_pubkey: info.server_pubkey,
        exit_delta: info.vtxo_exit_delta,
        least_expiry: if expired {
            after_schedule
        } else {
            Some(after_schedule.map_or(room, |height| height.max(room)))
        },
        unlock_hash,
        requests: &requests,
        signed,
    };
    issued::check(&round, &terms).map_err(|reason| {
        tracing::error!(%unlock_hash, reason, "the server's round is not what we asked for; no input is given up for it. If this lasts, take the inputs on chain with an exit before they expire");
        Error::unavailable(
            "server_unavailable",
            format!("the Ark server's round is not what was asked for, nothing was given up: {reason}"),
        )
    })?;
    Ok(Swap {
        unlock_hash,
        inputs: plan.inputs.clone(),
        funding_tx: round.funding_tx,
        outputs: round.outputs.into_iter().map(EncodedVtxo).collect(),
        scheduled: scheduled.map(bitcoin_ext::BlockHeight::to_u32),
    })
}

/// Keeps what the round made for us.
pub(super) fn issue(id: &OperationId, swap: Swap) -> Step<Round> {
    let (id, txid) = (id.clone(), swap.funding_tx.compute_txid());
    Step::commit(
        CommitPoint::RoundIssued,
        Next::State(Round::Issued(swap)),
        move |tx| {
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                let facts = [("funding_txid".to_owned(), txid.to_string().into())];
                movement::note(
                    tx,
                    movement,
                    facts.into_iter().collect(),
                    clock::now_millis(),
                )?;
            }
            Ok(())
        },
    )
}

/// Lets go of an attempt. The inputs are free until the next one, and were never in danger.
pub(super) fn missed(
    wallet: &Wallet,
    id: &OperationId,
    mut plan: Plan,
    attempt: AttemptId,
    again: usize,
    reason: &str,
) -> Step<Round> {
    wallet.round_secrets.forget(id);
    plan.failures = plan.failures.saturating_add(1);
    if plan.failures >= MAX_FAILURES {
        let message = format!("no round took the refresh; the last reason: {reason}");
        return abort(id, MovementStatus::Failed, refused(message));
    }
    tracing::warn!(
        round = attempt.round,
        attempt = attempt.attempt,
        reason,
        "this attempt at a round came to nothing; the next one is joined"
    );
    plan.tried = Some(AttemptId {
        attempt: attempt.attempt.max(again),
        ..attempt
    });
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

pub(super) fn gone() -> Error {
    Error::conflict(
        "inputs_gone",
        "the coins of this refresh were spent otherwise before a round took them",
    )
}
