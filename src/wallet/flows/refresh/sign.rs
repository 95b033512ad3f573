//! Signing the tree of an attempt, and submitting the signatures (docs/protocol.md §4.5.1).

use ark_lib::rounds::RoundEvent;
use bitcoin_ext::BlockDelta;

use super::attempt_id::AttemptId;
use super::check_proposal::{self, ExpectedTree};
use super::plan::Rejoin;
use super::resolve::{leave_attempt, resolve};
use super::{BranchSignatures, JoinedAttempt, POLL_INTERVAL, Round, SignedTree};
use crate::ark;
use crate::model::OperationId;
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Blocks by which a tree may expire before `tip + lifetime`, because the server's tip may lag behind ours.
const EXPIRY_TOLERANCE: BlockDelta = BlockDelta::new(6);

/// Waits for the proposed tree, checks and signs it.
pub(super) async fn sign_tree(
    wallet: &Wallet,
    id: &OperationId,
    joined: JoinedAttempt,
) -> Result<Step<Round>> {
    let attempt = joined.attempt;
    let observed = wallet.round_events.observed();
    let event = observed.latest.as_deref();
    let proposal = match event.filter(|event| AttemptId::of(event) == Some(attempt)) {
        Some(RoundEvent::VtxoProposal(proposal)) => proposal.clone(),
        Some(RoundEvent::Attempt(_)) => return Ok(Step::AwaitRound(POLL_INTERVAL)),
        None if !observed.answered => return Ok(Step::AwaitRound(POLL_INTERVAL)),
        _ => return resolve(wallet, id, joined, None).await,
    };
    // Everything that can fail temporarily stands before this removal, which is the only use of the nonces (H1).
    let info = wallet.connected_info()?;
    let tip = wallet.chain.tip().await?.height;
    let Some(keys) = wallet.attempt_keys.take(id, attempt) else {
        return resolve(wallet, id, joined, None).await;
    };
    let expected = ExpectedTree {
        server_pubkey: info.server_pubkey,
        exit_delta: info.vtxo_exit_delta,
        least_expiry: tip
            .add_delta(info.vtxo_lifetime)
            .saturating_sub(EXPIRY_TOLERANCE),
        unlock_hash: joined.unlock_hash,
        max_levels: keys.nonces_per_branch(),
    };
    let work = tokio::task::spawn_blocking(move || {
        check_proposal::check(proposal, &keys.requests, &expected)
            .and_then(|checked| checked.sign(keys))
    });
    let reason = match work.await {
        Ok(Ok((tree, signatures))) => {
            return Ok(Step::commit(
                CommitPoint::RoundCosigned,
                Next::State(Round::Sign {
                    joined,
                    tree,
                    signatures,
                }),
                |_| Ok(()),
            ));
        }
        Ok(Err(reason)) => reason,
        Err(panic) => {
            tracing::error!(%panic, "the check of the proposed tree panicked");
            "the proposed tree cannot be checked".to_owned()
        }
    };
    tracing::error!(
        reason,
        "the server's proposed tree is not valid; not signing it"
    );
    let plan = joined.plan;
    Ok(leave_attempt(
        wallet,
        id,
        plan,
        attempt,
        Rejoin::NextRound,
        &reason,
    ))
}

/// Submits the signatures. They are valid for this one attempt only.
pub(super) async fn submit(
    wallet: &Wallet,
    joined: JoinedAttempt,
    tree: SignedTree,
    branches: Vec<BranchSignatures>,
) -> Result<Step<Round>> {
    for branch in &branches {
        let submitted = wallet
            .server
            .provide_signatures(&branch.pubkey, &branch.signatures)
            .await;
        match submitted {
            Ok(()) => {}
            // Too late, or an earlier try was accepted: the participation's status decides.
            Err(error @ ark::Error::Rejected { .. }) => {
                tracing::warn!(%error, "the server refuses our signatures of the tree");
            }
            Err(error) if wallet.round_events.is_open(joined.attempt) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, "the attempt ended before the server confirmed our signatures of the tree");
            }
        }
    }
    Ok(Step::commit(
        CommitPoint::RoundSigned,
        Next::State(Round::Signed { joined, tree }),
        |_| Ok(()),
    ))
}
