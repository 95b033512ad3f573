//! Inputs that a refresh may not save in time, and refreshes whose inputs were exited (W11).

use ark_lib::Vtxo;
use ark_lib::VtxoId;
use ark_lib::vtxo::Full;
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::{Exchange, Round, abort, confirm, expiry};
use crate::chain::TxStatus;
use crate::model::{MovementStatus, OperationId, OperationRow};
use crate::wallet::engine::steps::exited::{Exited, exited, savable};
use crate::wallet::engine::{Step, state_of};
use crate::wallet::{Error, Result, Wallet};

/// The inputs of a refresh that have to be exited.
///
/// Nothing is forfeited before Forfeit, so an exit of the inputs loses nothing: an honest server does not react to it, and the new VTXOs
/// stay locked. In Forfeit it forces the server to show the preimage.
pub(in crate::wallet) async fn endangered(
    wallet: &Wallet,
    row: &OperationRow,
    tip: BlockHeight,
) -> Result<Vec<VtxoId>> {
    let is_failing = row.attempts > 0;
    let round: Round = state_of(row)?;
    let wanted = match &round {
        Round::Delegated { plan, .. } => {
            is_failing && is_last_call(wallet, &plan.inputs, tip).await?
        }
        Round::Issued(exchange) => {
            is_failing && is_last_call(wallet, &exchange.plan.inputs, tip).await?
        }
        Round::Confirm(exchange) => is_stuck(wallet, exchange, tip).await?,
        Round::Forfeit(exchange) => {
            let begun = exited(wallet, &exchange.plan.inputs).await? != Exited::None;
            is_failing && (begun || tip >= expiry::exit_deadline(wallet, exchange).await?)
        }
        _ => false,
    };
    if !wanted {
        return Ok(Vec::new());
    }
    savable(wallet, &round.plan().inputs).await
}

/// Whether the transaction of a round does not confirm in time. One that waits in the mempool has half of the margin more.
async fn is_stuck(wallet: &Wallet, exchange: &Exchange, tip: BlockHeight) -> Result<bool> {
    let funding = exchange.funding_tx.compute_txid();
    let inputs = &exchange.plan.inputs;
    match wallet.chain.status(funding).await? {
        TxStatus::Confirmed { .. } => Ok(false),
        TxStatus::NotFound => is_last_call(wallet, inputs, tip).await,
        TxStatus::Mempool => {
            let half = BlockDelta::new(wallet.settings.exit_margin.to_u16() / 2);
            is_last_call(wallet, inputs, tip.saturating_sub(half)).await
        }
    }
}

/// Whether one of these VTXOs, none of which has expired, has to be exited now.
async fn is_last_call(wallet: &Wallet, inputs: &[VtxoId], tip: BlockHeight) -> Result<bool> {
    let inputs: Vec<Vtxo<Full>> = wallet.full_vtxos(inputs.to_vec()).await?;
    let unexpired = inputs.iter().filter(|input| input.expiry_height() > tip);
    Ok(unexpired
        .into_iter()
        .any(|input| tip >= wallet.last_exit_start(input)))
}

/// The end of a refresh that has forfeited nothing and whose inputs are all exited.
pub(super) async fn after_exit(
    wallet: &Wallet,
    id: &OperationId,
    round: &Round,
) -> Result<Option<Step<Round>>> {
    let (Round::Delegated { .. } | Round::Issued(_) | Round::Confirm(_)) = round else {
        return Ok(None);
    };
    let inputs = &round.plan().inputs;
    if inputs.is_empty() || !matches!(exited(wallet, inputs).await?, Exited::All | Exited::Claimed)
    {
        return Ok(None);
    }
    let message =
        "the round did not complete in time, and its inputs were exited; nothing was forfeited";
    let reason = Error::conflict("inputs_exited", message);
    Ok(Some(match round.exchange() {
        Some(exchange) => confirm::abort_issued(id, exchange.clone(), reason),
        None => abort(id, MovementStatus::Failed, reason),
    }))
}
