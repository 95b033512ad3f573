//! Joining an attempt of a round (docs/protocol.md §4.5.1).

use ark_lib::attestations::RoundAttemptAttestation;
use ark_lib::rounds::RoundEvent;

use super::attempt_id::AttemptId;
use super::attempt_keys::AttemptKeys;
use super::plan::{Mode, Plan, Rejoin};
use super::resolve::leave_attempt;
use super::{JoinedAttempt, POLL_INTERVAL, Round, abort};
use crate::ark;
use crate::model::{MovementStatus, OperationId};
use crate::store::vtxo;
use crate::wallet::engine::steps::refusal::{self, Unusable};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Waits for an attempt that may be joined; then locks those inputs that are still unspent.
pub(super) async fn wait(wallet: &Wallet, id: &OperationId, plan: Plan) -> Result<Step<Round>> {
    let observed = wallet.round_events.observed();
    let Some(RoundEvent::Attempt(event)) = observed.latest.as_deref() else {
        return Ok(Step::AwaitRound(POLL_INTERVAL));
    };
    let attempt = AttemptId {
        round: event.round_seq.inner(),
        attempt: event.attempt_seq,
    };
    if !plan.may_join(attempt) {
        return Ok(Step::AwaitRound(POLL_INTERVAL));
    }
    let info = wallet.connected_info()?;
    let available = plan.load_available(wallet, id).await?;
    let plan = if available.len() == plan.inputs.len() {
        plan
    } else {
        let tip = wallet.chain.tip().await?.height;
        match plan.shrink(&info, &wallet.settings.ceilings, &available, tip) {
            Ok(smaller) => smaller,
            Err(reason) => return Ok(abort(id, MovementStatus::Canceled, reason)),
        }
    };
    wallet.attempt_keys.insert(
        id,
        AttemptKeys::generate(
            attempt,
            event.challenge,
            plan.requests(&wallet.keys)?,
            info.nb_round_nonces,
        ),
    );
    let (id, locked) = (id.clone(), plan.clone());
    Ok(Step::commit(
        CommitPoint::RoundJoining,
        Next::State(Round::Join { plan, attempt }),
        move |tx| {
            for input in &locked.inputs {
                vtxo::lock(tx, *input, &id)?;
            }
            locked.revise_movement(tx, &id)
        },
    ))
}

/// Submits inputs and output requests. Each try sends the same request; a restart, which loses its keys, abandons the attempt.
///
/// The server excludes from the later attempts of a round whoever has joined one and not signed. So after a try that it may have
/// taken, and after a refusal in a later attempt, the next round is waited for.
pub(super) async fn join(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    attempt: AttemptId,
    tries: Tries,
) -> Result<Step<Round>> {
    let leave =
        |plan, rejoin, reason: &str| Ok(leave_attempt(wallet, id, plan, attempt, rejoin, reason));
    let Some((challenge, requests)) = wallet.attempt_keys.requests(id, attempt) else {
        return leave(plan, Rejoin::NextRound, "its nonces were lost in a restart");
    };
    let inputs = wallet.signers(plan.inputs.clone()).await?;
    let attestations: Vec<_> = inputs
        .iter()
        .map(|(input, key)| {
            let id = input.id();
            let attestation = RoundAttemptAttestation::new(challenge, id, &requests, key);
            (id, attestation)
        })
        .collect();
    let submitted = wallet
        .server
        .submit_payment(&attestations, &requests, &wallet.keys.mailbox_id())
        .await;
    let unlock_hash = match submitted {
        Ok(hash) => hash,
        Err(ark::Error::Rejected { message, vtxos }) => {
            let refused = plan.only_inputs(vtxos);
            if tries.earlier || attempt.attempt > 0 {
                return leave(plan, Rejoin::NextRound, &message);
            }
            if refused.is_empty() {
                return leave(plan, Rejoin::NextAttempt, &message);
            }
            wallet.attempt_keys.remove(id);
            let unusable = refusal::unusable(wallet, &plan.inputs, &message, &refused).await;
            return Ok(without(id, plan, &message, unusable));
        }
        Err(error) if !wallet.round_events.is_open(attempt) => {
            return leave(plan, Rejoin::NextRound, &error.to_string());
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(round = attempt.round, attempt = attempt.attempt, %unlock_hash, "joined a round");
    Ok(Step::commit(
        CommitPoint::RoundJoined,
        Next::State(Round::Joined(JoinedAttempt {
            plan,
            attempt,
            unlock_hash,
        })),
        |_| Ok(()),
    ))
}

/// Goes on in the same attempt without the inputs that the server refuses, which are set aside (H51). The automatic refresh ends,
/// and starts again, as it does when no input is left.
fn without(id: &OperationId, plan: Plan, message: &str, unusable: Vec<Unusable>) -> Step<Round> {
    let left = plan.inputs.len() > unusable.len();
    if !left || plan.mode == Mode::Automatic {
        let message =
            format!("the Ark server refuses some of the coins, nothing was refreshed: {message}");
        let reason = Error::conflict("input_refused", message);
        return refusal::abort(CommitPoint::RoundAborted, id, reason, unusable);
    }
    tracing::warn!(
        refused = unusable.len(),
        message,
        "the Ark server refuses inputs of a refresh; going on without them"
    );
    let id = id.clone();
    Step::commit(
        CommitPoint::RoundShrunk,
        Next::State(Round::Wait(plan)),
        move |tx| {
            vtxo::release(tx, &id)?;
            refusal::set_all_aside(tx, &unusable)
        },
    )
}
