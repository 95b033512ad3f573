//! The ends of an exit whose output is not claimed.

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin::{OutPoint, Txid};

use super::leftover::needed;
use super::{Exit, child, facts, note, stored};
use crate::model::{ExitRow, ExitState, MovementStatus};
use crate::store::{WriteTx, exit, vtxo};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::recovery::unproven;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Ends an exit because a person asks for it. The VTXO stays as it is; one that was taken back for the exit counts as spent again.
pub(super) async fn canceled(
    wallet: &Wallet,
    row: &ExitRow,
    vtxo: &Vtxo<Full>,
) -> Result<Step<Exit>> {
    let reason = Error::conflict("exit_canceled", "the exit was canceled");
    let unused = unused_children(wallet, row, vtxo).await?;
    let point = CommitPoint::ExitCanceled;
    Ok(give_up(
        wallet,
        row,
        point,
        ExitState::Canceled,
        reason,
        unused,
    ))
}

/// Ends an exit whose VTXO was spent off chain.
pub(super) async fn overtaken(wallet: &Wallet, row: &ExitRow) -> Result<Step<Exit>> {
    let spent = wallet.full_vtxos(vec![row.vtxo]).await?.remove(0);
    let unused = unused_children(wallet, row, &spent).await?;
    let reason = Error::conflict("vtxo_already_spent", "the VTXO was spent off chain");
    let state = ExitState::VtxoAlreadySpent;
    let point = CommitPoint::ExitOvertaken;
    Ok(give_up(wallet, row, point, state, reason, unused))
}

/// Ends an exit whose VTXO is lost: somebody else's transaction has spent `outpoint`, which it hangs from (W19), or its own output.
pub(super) async fn swept(
    wallet: &Wallet,
    row: &ExitRow,
    outpoint: OutPoint,
) -> Result<Step<Exit>> {
    let lost = wallet.vtxo(row.vtxo).await?;
    let full = wallet.full_vtxos(vec![row.vtxo]).await?.remove(0);
    let unused = unused_children(wallet, row, &full).await?;
    let reason = Error::conflict(
        "vtxo_swept",
        format!("{outpoint}, which the VTXO is or hangs from, was spent by somebody else"),
    );
    let (row, tip, onchain) = (row.clone(), note::tip(wallet), wallet.onchain.clone());
    let loss = -end::signed(lost.amount)?;
    Ok(Step::commit(
        CommitPoint::ExitSwept,
        Next::Failed(reason),
        move |tx| {
            let spent_inputs = vec![outpoint];
            let state = ExitState::VtxoSwept { spent_inputs };
            close(tx, &row, &state, tip)?;
            release_unused(&onchain, tx, &row, &unused)?;
            vtxo::write_off(tx, row.vtxo)?;
            unproven::prove_by_exit(tx, row.vtxo, tip)?;
            end::fail_at_a_loss(tx, &row.operation, loss)
        },
    ))
}

fn give_up(
    wallet: &Wallet,
    row: &ExitRow,
    point: CommitPoint,
    state: ExitState,
    reason: Error,
    unused: Vec<Txid>,
) -> Step<Exit> {
    let (row, tip, onchain) = (row.clone(), note::tip(wallet), wallet.onchain.clone());
    Step::commit(point, Next::Failed(reason), move |tx| {
        close(tx, &row, &state, tip)?;
        release_unused(&onchain, tx, &row, &unused)?;
        unproven::put_back(tx, row.vtxo, tip)?;
        end::fail_movement(tx, &row.operation, MovementStatus::Canceled)
    })
}

/// Writes the last state.
pub(super) fn close(
    tx: &WriteTx<'_>,
    row: &ExitRow,
    state: &ExitState,
    tip: bitcoin_ext::BlockHeight,
) -> Result<()> {
    exit::advance(tx, row, state, tip, clock::now_millis())?;
    exit::set_problem(tx, row.id, None)?;
    facts::write(tx, row, facts::Fact::Clear)
}

/// The transactions of an exit whose children the network does not have.
async fn unused_children(wallet: &Wallet, row: &ExitRow, vtxo: &Vtxo<Full>) -> Result<Vec<Txid>> {
    let mut unused = Vec::new();
    for item in vtxo.transactions() {
        let parent = item.tx.compute_txid();
        if let Some(child) = stored::child(wallet, parent).await?
            && !wallet.chain.status(parent).await?.is_confirmed()
            && wallet.chain.confirmations(child.txid).await?.is_none()
        {
            unused.push(parent);
        }
    }
    tracing::debug!(vtxo = %row.vtxo, count = unused.len(), "children of an exit that are not needed");
    Ok(unused)
}

/// Gives back the coins of children that the network does not have, unless another exit under way needs them.
fn release_unused(
    onchain: &crate::onchain::OnchainWallet,
    tx: &mut WriteTx<'_>,
    ended: &ExitRow,
    unused: &[Txid],
) -> Result<()> {
    if unused.is_empty() {
        return Ok(());
    }
    let needed = needed(tx, Some(ended.id))?;
    for parent in unused.iter().filter(|parent| !needed.contains(*parent)) {
        exit::drop_child(tx, *parent)?;
        onchain.release(tx, &child::holder(*parent))?;
    }
    Ok(())
}
