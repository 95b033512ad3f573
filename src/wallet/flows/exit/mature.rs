//! The steps from the last confirmed transaction of an exit to the claim of its output.

use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoPolicy};
use bitcoin::{Transaction, Txid};
use bitcoin_ext::BlockHeight;

use super::look::{View, block_of, look};
use super::{Exit, end as ends, facts, note};
use crate::chain::{BroadcastError, Spend};
use crate::model::{
    Block, ExitProblem, ExitRow, ExitState, MovementStatus, OperationId, VtxoState,
};
use crate::store::{WriteTx, exit, lightning_send, movement, recovery, vtxo as vtxos};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Marks the VTXO as exited: all transactions are confirmed (H23).
pub(super) async fn confirmed(
    wallet: &Wallet,
    row: &ExitRow,
    vtxo: &Vtxo<Full>,
    view: &View,
) -> Result<Step<Exit>> {
    let Some(block) = view.last_block() else {
        return Err(Error::internal(anyhow::anyhow!(
            "VTXO {} has no exit transactions",
            row.vtxo
        )));
    };
    let (state, problem) = unclaimed(wallet, vtxo, block).await?;
    let published = ExitRow {
        state: view.state(),
        ..row.clone()
    };
    let onchain = wallet.onchain.clone();
    let (before, tip) = (row.clone(), note::tip(wallet));
    tracing::info!(vtxo = %row.vtxo, height = %block.height, "all transactions of an exit are confirmed");
    Ok(Step::commit(
        CommitPoint::ExitConfirmed,
        Next::State(Exit::Mature),
        move |tx| {
            if vtxos::get(tx, before.vtxo)?.is_some_and(|it| it.state == VtxoState::Spent) {
                return Err(Error::conflict(
                    "vtxo_already_spent",
                    "the VTXO was spent off chain",
                ));
            }
            note::settle_confirmed(&onchain, tx, &before.state, &published.state)?;
            // The history gets the blocks of all transactions.
            let now = clock::now_millis();
            exit::advance(tx, &before, &published.state, tip, now)?;
            exit::advance(tx, &published, &state, tip, now)?;
            exit::set_problem(tx, before.id, problem.as_ref())?;
            exit::set_cancel(tx, before.id, false)?;
            facts::write(tx, &before, facts::Fact::Clear)?;
            Ok(vtxos::exit_held(tx, before.vtxo)?)
        },
    ))
}

/// Follows the output until it is claimed, and goes back when a reorganisation takes the VTXO's own transaction back.
pub(super) async fn mature(wallet: &Wallet, id: &OperationId) -> Result<Step<Exit>> {
    let (row, vtxo) = note::load(wallet, id).await?;
    let point = vtxo.point();
    let Some(block) = block_of(wallet.chain.status(point.txid).await?) else {
        return unconfirmed(wallet, row, &vtxo).await;
    };
    match wallet.chain.spender(point).await? {
        Some(Spend { txid, status }) => match block_of(status) {
            Some(in_block) => claimed(wallet, row, vtxo, txid, in_block).await,
            None => {
                let claimable_since = since(wallet, &row, &vtxo, block).await?;
                let state = ExitState::ClaimInProgress {
                    claimable_since,
                    claim_txid: txid,
                };
                note::wait(wallet, Exit::Mature, row, state, None).await
            }
        },
        None => {
            let (state, problem) = unclaimed(wallet, &vtxo, block).await?;
            match row.claim {
                Some(claim) if matches!(state, ExitState::Claimable { .. }) => {
                    claim_again(wallet, row, claim, state).await
                }
                _ => note::wait(wallet, Exit::Mature, row, state, problem).await,
            }
        }
    }
}

/// The state of an exit whose output nobody spends.
pub(super) async fn unclaimed(
    wallet: &Wallet,
    vtxo: &Vtxo<Full>,
    block: Block,
) -> Result<(ExitState, Option<ExitProblem>)> {
    let Some(claiming) = wallet.claiming(vtxo).await? else {
        let state = ExitState::AwaitingDelta {
            confirmed_block: block,
            claimable_height: block.height.add_delta(vtxo.exit_delta()),
        };
        let problem = ExitProblem::ClaimMissingSignableClause { vtxo: vtxo.id() };
        return Ok((state, Some(problem)));
    };
    let claimable_height = claiming.claimable_height(block.height);
    let state = match block_at(wallet, claimable_height).await? {
        Some(claimable_since) => ExitState::Claimable { claimable_since },
        None => ExitState::AwaitingDelta {
            confirmed_block: block,
            claimable_height,
        },
    };
    Ok((state, None))
}

/// The first block from which on the output could be claimed; the block of the VTXO's own transaction if somebody else was faster.
async fn since(wallet: &Wallet, row: &ExitRow, vtxo: &Vtxo<Full>, block: Block) -> Result<Block> {
    if let ExitState::ClaimInProgress {
        claimable_since, ..
    } = row.state
    {
        return Ok(claimable_since);
    }
    Ok(match unclaimed(wallet, vtxo, block).await?.0 {
        ExitState::Claimable { claimable_since } => claimable_since,
        _ => block,
    })
}

/// The block at this height; `None` if there is none yet.
async fn block_at(wallet: &Wallet, height: BlockHeight) -> Result<Option<Block>> {
    if wallet.chain.tip().await?.height < height {
        return Ok(None);
    }
    let hash = wallet.chain.block_hash(height).await?;
    Ok(Some(Block { height, hash }))
}

/// Broadcasts the wallet's claim that the network does not have.
async fn claim_again(
    wallet: &Wallet,
    row: ExitRow,
    claim: Txid,
    state: ExitState,
) -> Result<Step<Exit>> {
    let read = move |connection: &_| exit::claim(connection, claim);
    let Some(body) = wallet.store.read(read).await? else {
        return note::wait(wallet, Exit::Mature, row, state, None).await;
    };
    let sent = wallet
        .chain
        .broadcast_package(std::slice::from_ref(&body))
        .await;
    match sent {
        Ok(()) => {
            let claimable_since = match &state {
                ExitState::Claimable { claimable_since } => *claimable_since,
                _ => return Ok(Step::AwaitBlock),
            };
            let state = ExitState::ClaimInProgress {
                claimable_since,
                claim_txid: claim,
            };
            note::wait(wallet, Exit::Mature, row, state, None).await
        }
        Err(BroadcastError::Unavailable(reason)) => {
            Err(Error::unavailable("chain_unavailable", reason))
        }
        // Another output that it claims was claimed otherwise: it can never confirm.
        Err(BroadcastError::MissingOrSpent) if wallet.chain.is_double_spent(&body).await? => {
            tracing::warn!(vtxo = %row.vtxo, %claim, "a claim can never confirm; the exit can be claimed again");
            let exit = row.id;
            let point = CommitPoint::ExitNoted;
            note::write(wallet, point, Exit::Mature, row, state, None, move |tx| {
                Ok(exit::drop_claim(tx, exit)?)
            })
            .await
        }
        Err(error) => {
            let problem = ExitProblem::ExitPackageBroadcastFailure {
                txid: claim,
                error: error.to_string(),
            };
            note::wait(wallet, Exit::Mature, row, state, Some(problem)).await
        }
    }
}

/// Goes back to publishing after a reorganisation. The VTXO stays exited: its transactions are known to the network.
async fn unconfirmed(wallet: &Wallet, row: ExitRow, vtxo: &Vtxo<Full>) -> Result<Step<Exit>> {
    tracing::warn!(vtxo = %row.vtxo, "a reorganisation took a transaction of an exit back");
    let state = look(wallet, &row, vtxo).await?.state();
    let point = CommitPoint::ExitUnconfirmed;
    note::write(wallet, point, Exit::Publish, row, state, None, |_| Ok(())).await
}

/// Counts the output as claimed: a confirmed transaction has spent it.
async fn claimed(
    wallet: &Wallet,
    row: ExitRow,
    vtxo: Vtxo<Full>,
    txid: Txid,
    block: Block,
) -> Result<Step<Exit>> {
    let is_ours = row.claim == Some(txid);
    let of = row.vtxo;
    let is_unproven = move |connection: &_| recovery::is_unproven(connection, of);
    if !is_ours && wallet.store.read(is_unproven).await? {
        // The server has said so, and now the chain does.
        return ends::swept(wallet, &row, vtxo.point()).await;
    }
    let claim = match is_ours {
        true => None,
        false => wallet.chain.transaction(txid).await?,
    };
    tracing::info!(vtxo = %row.vtxo, claim = %txid, is_ours, "the output of an exit is claimed");
    let tip = note::tip(wallet);
    Ok(Step::commit(
        CommitPoint::ExitClaimed,
        Next::State(Exit::Settle),
        move |tx| {
            ends::close(tx, &row, &ExitState::Claimed { txid, block }, tip)?;
            vtxos::set_claimed(tx, row.vtxo, true)?;
            let is_booked_elsewhere = match &claim {
                Some(claim) => {
                    let paid = note_preimage(tx, &vtxo, claim)?;
                    paid || movement::is_spent_by_another(tx, row.vtxo, &row.operation)?
                }
                None => false,
            };
            match is_booked_elsewhere {
                // Another movement, of the payment that the other side proves with its claim, has the amount.
                true => end::fail_movement(tx, &row.operation, MovementStatus::Canceled),
                false => end::succeed(tx, &row.operation),
            }
        },
    ))
}

/// Stores the preimage with which the server has claimed an HTLC of a Lightning payment. Returns whether it has.
fn note_preimage(tx: &WriteTx<'_>, vtxo: &Vtxo<Full>, claim: &Transaction) -> Result<bool> {
    let hash = match vtxo.policy() {
        VtxoPolicy::ServerHtlcSend(policy) => policy.payment_hash,
        VtxoPolicy::ServerHtlcSend_v0(policy) => policy.payment_hash,
        _ => return Ok(false),
    };
    let Some(preimage) = revealed(vtxo, claim, hash) else {
        return Ok(false);
    };
    Ok(lightning_send::set_preimage(tx, hash, preimage)?)
}

/// The preimage that a claim shows.
fn revealed(vtxo: &Vtxo<Full>, claim: &Transaction, hash: PaymentHash) -> Option<Preimage> {
    let mut inputs = claim.input.iter();
    let input = inputs.find(|input| input.previous_output == vtxo.point())?;
    let items = input.witness.iter();
    items
        .filter_map(|item| Preimage::try_from(item).ok())
        .find(|preimage| preimage.compute_payment_hash() == hash)
}
