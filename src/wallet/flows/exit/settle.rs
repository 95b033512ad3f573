//! The step that follows a claim until no reorganisation takes it back (H25). The exit counts as claimed meanwhile.

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;

use super::look::{block_of, look};
use super::mature::unclaimed;
use super::{Exit, FINAL_DEPTH, note};
use crate::model::{Block, ExitRow, ExitState, OperationId};
use crate::store::{exit, movement, vtxo as vtxos};
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Ends the exit when the claim is deep, and takes it up again when the claim is gone.
pub(super) async fn settle(wallet: &Wallet, id: &OperationId) -> Result<Step<Exit>> {
    let (row, vtxo) = note::load(wallet, id).await?;
    let ExitState::Claimed { txid, .. } = row.state else {
        let message = format!("the exit of VTXO {} is not claimed", row.vtxo);
        return Err(Error::internal(anyhow::anyhow!(message)));
    };
    let spend = wallet.chain.spender(vtxo.point()).await?;
    let claim = spend.filter(|spend| spend.txid == txid);
    match claim.and_then(|claim| block_of(claim.status)) {
        None => reopened(wallet, row, &vtxo).await,
        Some(block) if is_deep(wallet, block).await? => {
            let point = CommitPoint::ExitSettled;
            Ok(Step::commit(point, Next::Done, |_| Ok(())))
        }
        Some(block) => {
            let state = ExitState::Claimed { txid, block };
            note::wait(wallet, Exit::Settle, row, state, None).await
        }
    }
}

async fn is_deep(wallet: &Wallet, block: Block) -> Result<bool> {
    let tip = wallet.chain.tip().await?.height.to_u32();
    Ok(tip + 1 >= block.height.to_u32() + FINAL_DEPTH)
}

/// Takes the exit up again. What the chain has instead of the claim is found by the next step.
async fn reopened(wallet: &Wallet, row: ExitRow, vtxo: &Vtxo<Full>) -> Result<Step<Exit>> {
    tracing::warn!(vtxo = %row.vtxo, "a reorganisation took the claim of an exit back");
    let own = wallet.chain.status(vtxo.point().txid).await?;
    let (state, problem) = match block_of(own) {
        Some(block) => unclaimed(wallet, vtxo, block).await?,
        None => (look(wallet, &row, vtxo).await?.state(), None),
    };
    let tip = note::tip(wallet);
    Ok(Step::commit(
        CommitPoint::ExitReopened,
        Next::State(Exit::Mature),
        move |tx| {
            let now = clock::now_millis();
            exit::advance(tx, &row, &state, tip, now)?;
            exit::set_problem(tx, row.id, problem.as_ref())?;
            vtxos::set_claimed(tx, row.vtxo, false)?;
            Ok(movement::reopen(tx, &row.operation, now)?)
        },
    ))
}
