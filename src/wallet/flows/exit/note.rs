//! What the steps of an exit write: its state, what keeps it from going on, and what follows from transactions that were confirmed.

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin::Txid;
use bitcoin_ext::BlockHeight;

use super::{Exit, child, facts};
use crate::model::{ExitProblem, ExitRow, ExitState, ExitTxStatus, OperationId};
use crate::onchain::OnchainWallet;
use crate::store::{WriteTx, exit, vtxo_body};
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Result, Wallet};

/// The exit that an operation does, and its VTXO.
///
/// # Errors
/// The database's.
pub(super) async fn load(wallet: &Wallet, id: &OperationId) -> Result<(ExitRow, Vtxo<Full>)> {
    let id = id.clone();
    wallet
        .store
        .read(move |connection| {
            let row = exit::of_operation(connection, &id)?;
            let vtxo = vtxo_body::get(connection, row.vtxo)?;
            Ok((row, vtxo))
        })
        .await
}

/// The height of the chain as far as it is known.
pub(super) fn tip(wallet: &Wallet) -> BlockHeight {
    let tip = wallet.chain.last_tip();
    tip.map_or(BlockHeight::ZERO, |tip| tip.height)
}

/// Writes state and problem if they have changed, otherwise waits for the next block.
pub(super) async fn wait(
    wallet: &Wallet,
    next: Exit,
    row: ExitRow,
    state: ExitState,
    problem: Option<ExitProblem>,
) -> Result<Step<Exit>> {
    if row.state == state && row.problem == problem {
        return Ok(Step::AwaitBlock);
    }
    let point = CommitPoint::ExitNoted;
    write(wallet, point, next, row, state, problem, |_| Ok(())).await
}

/// Writes state and problem, and what else belongs to the same step.
pub(super) async fn write(
    wallet: &Wallet,
    point: CommitPoint,
    next: Exit,
    row: ExitRow,
    state: ExitState,
    problem: Option<ExitProblem>,
    more: impl FnOnce(&mut WriteTx<'_>) -> Result<()> + Send + 'static,
) -> Result<Step<Exit>> {
    let fact = facts::underfunded(wallet, &row, problem.as_ref()).await?;
    let onchain = wallet.onchain.clone();
    let tip = tip(wallet);
    Ok(Step::commit(point, Next::State(next), move |tx| {
        settle_confirmed(&onchain, tx, &row.state, &state)?;
        exit::advance(tx, &row, &state, tip, clock::now_millis())?;
        exit::set_problem(tx, row.id, problem.as_ref())?;
        facts::write(tx, &row, fact)?;
        more(tx)
    }))
}

/// Refuses the end that a person asked for: the VTXO's own transaction is out.
pub(super) async fn refuse_cancel(
    wallet: &Wallet,
    row: ExitRow,
    state: ExitState,
) -> Result<Step<Exit>> {
    let (exit, problem) = (row.id, row.problem.clone());
    // The status of the transaction in the mempool is found by the next step.
    let state = match &row.state {
        ExitState::Start => state,
        known => known.clone(),
    };
    let point = CommitPoint::ExitNoted;
    write(
        wallet,
        point,
        Exit::Publish,
        row,
        state,
        problem,
        move |tx| Ok(exit::set_cancel(tx, exit, false)?),
    )
    .await
}

/// Settles what is held for the children of the transactions that are confirmed now and were not before.
pub(super) fn settle_confirmed(
    onchain: &OnchainWallet,
    tx: &mut WriteTx<'_>,
    before: &ExitState,
    now: &ExitState,
) -> Result<()> {
    let before = confirmed(before);
    for (parent, child) in confirmed(now) {
        if !before.contains(&(parent, child)) {
            child::settle(onchain, tx, parent, child)?;
        }
    }
    Ok(())
}

/// The confirmed transactions, each with the child that paid for it.
fn confirmed(state: &ExitState) -> Vec<(Txid, Txid)> {
    let ExitState::Processing { transactions } = state else {
        return Vec::new();
    };
    let pairs = transactions.iter().filter_map(|it| match it.status {
        ExitTxStatus::Confirmed { child_txid, .. } => Some((it.txid, child_txid)),
        _ => None,
    });
    pairs.collect()
}
