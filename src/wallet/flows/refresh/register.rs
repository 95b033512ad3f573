//! Uploads of signed chains: of the inputs before a round, of the new VTXOs after it (H34).

use super::plan::{Mode, Plan};
use super::resolve::refused;
use super::{Exchange, Round, abort};
use crate::ark;
use crate::model::{MovementStatus, OperationId};
use crate::store::vtxo;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Failed uploads after which the refresh is aborted. The server cannot know of it yet.
const MAX_FAILURES_BEFORE_JOIN: u32 = 3;

/// Uploads the inputs' chains, so that no time is lost on it once a round has started.
pub(super) async fn inputs(
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
        Mode::Interactive | Mode::Automatic => Round::Wait(plan),
        Mode::Delegated { .. } | Mode::Recovered => Round::Delegate(plan),
    };
    Ok(Step::commit(
        CommitPoint::RoundInputsRegistered,
        Next::State(next),
        move |tx| Ok(vtxo::set_registered(tx, &registered, true)?),
    ))
}

/// Uploads the new VTXOs' chains, without which the server does not cosign a spend of them.
pub(super) async fn outputs(wallet: &Wallet, exchange: Exchange) -> Result<Step<Round>> {
    let ids: Vec<_> = exchange
        .outputs
        .iter()
        .map(|output| output.0.id())
        .collect();
    let outputs = wallet.full_vtxos(ids.clone()).await?;
    let registered = match wallet.server.register_chains(&outputs).await {
        Ok(()) => ids,
        // The operation that spends them uploads them again.
        Err(error @ ark::Error::Rejected { .. }) => {
            tracing::warn!(%error, "the server refuses the signed chains of refreshed VTXOs");
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    wallet.received.notify_one();
    Ok(Step::commit(
        CommitPoint::RoundOutputsRegistered,
        Next::Done,
        move |tx| Ok(vtxo::set_registered(tx, &registered, true)?),
    ))
}
