//! Uploads of signed chains: of the inputs before a round, of the new VTXOs after it (H34).

use super::plan::{Mode, Plan};
use super::resolve::refused;
use super::{Exchange, Round, abort};
use crate::model::{MovementStatus, OperationId};
use crate::store::vtxo;
use crate::wallet::engine::steps::refusal;
use crate::wallet::engine::steps::upload::{Upload, upload_inputs, upload_outputs};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Uploads the inputs' chains, so that no time is lost on it once a round has started.
pub(super) async fn inputs(
    wallet: &Wallet,
    id: &OperationId,
    plan: Plan,
    tries: Tries,
) -> Result<Step<Round>> {
    let uploaded = match upload_inputs(wallet, &plan.inputs, tries).await? {
        Upload::Done(ids) => ids,
        Upload::Refused { message, vtxos } => {
            let unusable = refusal::unusable(wallet, &plan.inputs, &message, &vtxos).await;
            let reason = refused(format!("the Ark server refuses the coins: {message}"));
            return Ok(refusal::abort(
                CommitPoint::RoundAborted,
                id,
                reason,
                unusable,
            ));
        }
        Upload::GivenUp(error) => return Ok(abort(id, MovementStatus::Failed, error)),
    };
    let next = match plan.mode {
        Mode::Interactive | Mode::Automatic => Round::Wait(plan),
        Mode::Delegated { .. } | Mode::Recovered => Round::Delegate(plan),
    };
    Ok(Step::commit(
        CommitPoint::RoundInputsRegistered,
        Next::State(next),
        move |tx| Ok(vtxo::set_registered(tx, &uploaded, true)?),
    ))
}

/// Uploads the new VTXOs' chains, without which the server does not cosign a spend of them.
pub(super) async fn outputs(wallet: &Wallet, exchange: Exchange) -> Result<Step<Round>> {
    let uploaded = upload_outputs(wallet, &exchange.outputs).await?;
    Ok(Step::commit(
        CommitPoint::RoundOutputsRegistered,
        Next::Done,
        move |tx| {
            if uploaded {
                vtxo::set_registered(tx, &exchange.outputs, true)?;
            }
            Ok(())
        },
    ))
}
