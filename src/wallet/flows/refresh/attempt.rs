//! The steps of an interactive participation, up to the round having happened (docs/protocol.md §4.5.1).

use ark_lib::attestations::RoundAttemptAttestation;
use ark_lib::musig::PartialSignature;
use ark_lib::rounds::RoundEvent;
use bitcoin::hex::FromHex;
use bitcoin_ext::BlockDelta;
use server_rpc::TryFromBytes;

use super::outcome::{NEXT_ATTEMPT, NEXT_ROUND, gone, missed, refused, resolve};
use super::plan::{Mode, Plan};
use super::secrets::AttemptSecrets;
use super::{
    AttemptId, BranchSignatures, Participation, Round, SAFETY_NET, SignedTree, abort, proposal,
};
use crate::ark::{self, ParticipationStatus};
use crate::model::MovementStatus;
use crate::model::OperationId;
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Failures of the upload after which a participation that the server cannot know of yet is given up.
const MAX_FAILURES_BEFORE_JOIN: u32 = 3;
/// Blocks that a tree may expire earlier than a whole lifetime from now, because tips differ.
const EXPIRY_TOLERANCE: BlockDelta = BlockDelta::new(6);

/// Uploads the inputs' chains, so that no time is lost on it once a round has begun (H34).
pub(super) async fn prepare(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    tries: Tries,
) -> Result<Step<Round>> {
    let inputs = wallet.full_vtxos(plan.inputs.clone()).await?;
    match wallet.server.register_chains(&inputs).await {
        Ok(()) => {}
        Err(ark::Error::Rejected { message, .. }) => {
            let reason = refused(format!("the Ark server refuses the coins: {message}"));
            return Ok(abort(id, MovementStatus::Failed, reason));
        }
        Err(error) if tries.failed >= MAX_FAILURES_BEFORE_JOIN => {
            return Ok(abort(id, MovementStatus::Failed, error.into()));
        }
        Err(error) => return Err(error.into()),
    }
    let registered = plan.inputs.clone();
    let next = match plan.mode {
        Mode::Interactive | Mode::Maintenance => Round::Wait(plan),
        Mode::Delegated { .. } | Mode::Adopted => Round::Delegate(plan),
    };
    Ok(Step::commit(
        CommitPoint::RoundInputsRegistered,
        Next::State(next),
        move |tx| Ok(vtxo::set_registered(tx, &registered, true)?),
    ))
}

/// Joins the attempt that is open, if it is one for us: locks what is left of the inputs.
pub(super) async fn wait(wallet: &Wallet, id: &OperationId, plan: Plan) -> Result<Step<Round>> {
    let news = wallet.round_feed.news();
    let Some(RoundEvent::Attempt(event)) = news.latest.as_deref() else {
        return Ok(Step::AwaitRound(SAFETY_NET));
    };
    let attempt = AttemptId {
        round: event.round_seq.inner(),
        attempt: event.attempt_seq,
    };
    if !plan.may_join(attempt) {
        return Ok(Step::AwaitRound(SAFETY_NET));
    }
    let info = wallet.connected_info()?;
    let (planned, operation) = (plan.clone(), id.clone());
    let left = wallet
        .store
        .read(move |connection| planned.available(connection, &operation))
        .await?;
    let plan = if left.len() == plan.inputs.len() {
        plan
    } else {
        let tip = wallet.chain.tip().await?.height;
        match plan.shrink(&info, &left, tip) {
            Some(smaller) => smaller,
            None => return Ok(abort(id, MovementStatus::Canceled, gone())),
        }
    };
    wallet.round_secrets.keep(
        id,
        AttemptSecrets::generate(
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

/// Tells the server. The request is the same at each try, and a process that has lost it has lost the attempt.
pub(super) async fn join(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    attempt: AttemptId,
) -> Result<Step<Round>> {
    let Some((challenge, requests)) = wallet.round_secrets.requests(id, attempt) else {
        return Ok(missed(
            wallet,
            id,
            plan,
            attempt,
            NEXT_ROUND,
            "its nonces are gone",
        ));
    };
    let inputs = wallet.signers(plan.inputs.clone()).await?;
    let attestations: Vec<_> = inputs
        .iter()
        .map(|(input, key)| {
            let id = input.id();
            (
                id,
                RoundAttemptAttestation::new(challenge, id, &requests, key),
            )
        })
        .collect();
    let joined = wallet
        .server
        .submit_payment(&attestations, &requests, &wallet.keys.mailbox_id())
        .await;
    let unlock_hash = match joined {
        Ok(hash) => hash,
        Err(ark::Error::Rejected { message, vtxos }) => {
            let bad: Vec<_> = vtxos
                .into_iter()
                .filter(|vtxo| plan.inputs.contains(vtxo))
                .collect();
            if bad.is_empty() {
                return Ok(missed(wallet, id, plan, attempt, NEXT_ATTEMPT, &message));
            }
            wallet.round_secrets.forget(id);
            let reason = Error::conflict(
                "input_refused",
                format!(
                    "the Ark server refuses some of the coins, nothing was refreshed: {message}"
                ),
            );
            return Ok(abort(
                id,
                MovementStatus::Failed,
                reason.with_resources(bad),
            ));
        }
        Err(error) if !wallet.round_feed.is_at(attempt) => {
            let reason = error.to_string();
            return Ok(missed(wallet, id, plan, attempt, NEXT_ROUND, &reason));
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(round = attempt.round, attempt = attempt.attempt, %unlock_hash, "joined a round");
    Ok(Step::commit(
        CommitPoint::RoundJoined,
        Next::State(Round::Joined(Participation {
            plan,
            attempt,
            unlock_hash,
        })),
        |_| Ok(()),
    ))
}

/// Signs the tree once it is there.
pub(super) async fn joined(
    wallet: &Wallet,
    id: &OperationId,
    participation: Participation,
) -> Result<Step<Round>> {
    let news = wallet.round_feed.news();
    let attempt = participation.attempt;
    let proposal = match news.latest.as_deref() {
        None if !news.heard => return Ok(Step::AwaitRound(SAFETY_NET)),
        Some(event @ RoundEvent::Attempt(_)) if AttemptId::of(event) == Some(attempt) => {
            return Ok(Step::AwaitRound(SAFETY_NET));
        }
        Some(event @ RoundEvent::VtxoProposal(proposal))
            if AttemptId::of(event) == Some(attempt) =>
        {
            proposal.clone()
        }
        _ => return resolve(wallet, id, participation, None).await,
    };
    // Nothing that can fail for a passing reason may come after the nonces were taken out.
    let info = wallet.connected_info()?;
    let tip = wallet.chain.tip().await?.height;
    let Some(secrets) = wallet.round_secrets.take(id, attempt) else {
        return resolve(wallet, id, participation, None).await;
    };
    let terms = proposal::Terms {
        server_pubkey: info.server_pubkey,
        exit_delta: info.vtxo_exit_delta,
        least_expiry: tip
            .add_delta(info.vtxo_lifetime)
            .saturating_sub(EXPIRY_TOLERANCE),
        unlock_hash: participation.unlock_hash,
        nonces: secrets
            .branches
            .iter()
            .map(|branch| branch.nonces.len())
            .min()
            .unwrap_or(0),
    };
    let work = tokio::task::spawn_blocking(move || {
        proposal::check(proposal, &secrets.requests, &terms)
            .and_then(|checked| checked.sign(secrets))
    });
    let (tree, signatures) = match work.await {
        Ok(Ok(signed)) => signed,
        Ok(Err(reason)) => {
            tracing::error!(%reason, "the server proposes a tree that is not what we asked for; it is not signed");
            let plan = participation.plan;
            return Ok(missed(wallet, id, plan, attempt, NEXT_ROUND, &reason));
        }
        Err(panic) => {
            tracing::error!(%panic, "the server proposes a tree that cannot be worked with; it is not signed");
            let (plan, reason) = (
                participation.plan,
                "the proposed tree cannot be worked with",
            );
            return Ok(missed(wallet, id, plan, attempt, NEXT_ROUND, reason));
        }
    };
    Ok(Step::commit(
        CommitPoint::RoundCosigned,
        Next::State(Round::Sign {
            participation,
            tree,
            signatures,
        }),
        |_| Ok(()),
    ))
}

/// Hands over the signatures. They are made for one attempt, and worth nothing for any other.
pub(super) async fn sign(
    wallet: &Wallet,
    participation: Participation,
    tree: SignedTree,
    branches: Vec<BranchSignatures>,
) -> Result<Step<Round>> {
    for branch in &branches {
        let signatures = branch
            .signatures
            .iter()
            .map(|hex| {
                let bytes = Vec::<u8>::from_hex(hex).map_err(Error::internal)?;
                PartialSignature::from_bytes(bytes)
                    .map_err(|error| Error::internal(anyhow::anyhow!("{error:?}")))
            })
            .collect::<Result<Vec<_>>>()?;
        match wallet
            .server
            .provide_signatures(&branch.pubkey, &signatures)
            .await
        {
            Ok(()) => {}
            // Too late, or already there: what became of the participation tells.
            Err(error @ ark::Error::Rejected { .. }) => {
                tracing::warn!(%error, "the server does not take our signatures of the tree");
            }
            Err(error) if wallet.round_feed.is_at(participation.attempt) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, "our signatures of the tree may have come too late");
            }
        }
    }
    Ok(Step::commit(
        CommitPoint::RoundSigned,
        Next::State(Round::Signed {
            participation,
            tree,
        }),
        |_| Ok(()),
    ))
}

/// Waits for the end of the attempt, and asks what it was. The answer counts also when the event was missed (W13).
pub(super) async fn signed(
    wallet: &Wallet,
    id: &OperationId,
    participation: Participation,
    tree: SignedTree,
) -> Result<Step<Round>> {
    let heard = wallet.round_feed.news().heard;
    if !heard || wallet.round_feed.is_at(participation.attempt) {
        let hash = participation.unlock_hash;
        if !matches!(
            wallet.server.participation_status(hash).await?,
            ParticipationStatus::Issued(_)
        ) {
            return Ok(Step::AwaitRound(SAFETY_NET));
        }
    }
    resolve(wallet, id, participation, Some(tree)).await
}

impl Plan {
    /// A round is joined when it begins; a later attempt only of a round that we were in.
    fn may_join(&self, attempt: AttemptId) -> bool {
        match self.tried {
            Some(tried) if tried.round == attempt.round => attempt.attempt > tried.attempt,
            _ => attempt.attempt == 0,
        }
    }

    /// Makes the history tell of this plan instead of a larger one.
    pub(super) fn revise_movement(
        &self,
        tx: &crate::store::WriteTx<'_>,
        id: &OperationId,
    ) -> Result<()> {
        if let Some(movement) = movement::id_of_operation(tx, id)? {
            let (change, now) = (self.balance_change()?, clock::now_millis());
            movement::revise(tx, movement, &self.inputs, change, self.fee, now)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Amount;

    #[test]
    fn a_round_is_joined_at_its_beginning_and_rejoined_only_when_we_were_in_it() {
        let id = |round, attempt| AttemptId { round, attempt };
        let mut plan = Plan {
            mode: Mode::Interactive,
            inputs: Vec::new(),
            outputs: Vec::new(),
            fee: Amount::ZERO,
            tried: None,
            failures: 0,
        };
        assert!(plan.may_join(id(7, 0)) && !plan.may_join(id(7, 1)));
        plan.tried = Some(id(7, 0));
        assert!(!plan.may_join(id(7, 0)) && plan.may_join(id(7, 1)));
        assert!(plan.may_join(id(8, 0)) && !plan.may_join(id(8, 1)));
    }
}
