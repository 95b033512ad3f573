//! Inputs that an offboard may not save in time, and offboards whose inputs were exited (H61).

use ark_lib::VtxoId;
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::finish::{accept_signed, find};
use super::{FINAL_DEPTH, Offboard, abort};
use crate::chain::{Spend, TxStatus};
use crate::model::{OperationId, OperationRow};
use crate::store::exit;
use crate::wallet::engine::steps::exited::{Exited, exited, last_call, savable};
use crate::wallet::engine::{Step, state_of};
use crate::wallet::{Error, Result, Wallet};

impl Offboard {
    /// The inputs that only an exit can save if the server never answers, when the operation has failed so often. The forfeits that the
    /// server may have are worth nothing before the offboard's transaction is on chain, and then it has paid.
    pub(in crate::wallet) fn stuck(&self, attempts: u32) -> &[VtxoId] {
        let is_stuck = match self {
            Offboard::Split { signing, .. } => return signing.stuck(attempts),
            Offboard::Prepare { prior, .. } => attempts > 0 || !prior.is_empty(),
            Offboard::RegisterSplit { .. }
            | Offboard::RegisterWhole(_)
            | Offboard::Finish(_)
            | Offboard::Broadcast(_) => attempts > 0,
            Offboard::Confirm(_) => false,
        };
        match is_stuck {
            true => self.inputs(),
            false => &[],
        }
    }
}

/// The inputs of an offboard that have to be exited. A transaction that waits in the mempool has half of the margin more.
pub(in crate::wallet) async fn endangered(
    wallet: &Wallet,
    row: &OperationRow,
    tip: BlockHeight,
) -> Result<Vec<VtxoId>> {
    let offboard: Offboard = state_of(row)?;
    let half = BlockDelta::new(wallet.settings.exit_margin.to_u16() / 2);
    let (inputs, tip) = match &offboard {
        Offboard::Confirm(signed) => {
            let inputs = signed.inputs.as_slice();
            match wallet
                .chain
                .status(signed.transaction.compute_txid())
                .await?
            {
                TxStatus::Confirmed { .. } => return Ok(Vec::new()),
                TxStatus::Mempool => (inputs, tip.saturating_sub(half)),
                TxStatus::NotFound => (inputs, tip),
            }
        }
        other => (other.stuck(row.attempts), tip),
    };
    // The others are exited as well: the offboard does not go on without all of them.
    if exited(wallet, offboard.inputs()).await? != Exited::None {
        return savable(wallet, offboard.inputs()).await;
    }
    last_call(wallet, inputs, tip).await
}

/// What an offboard does whose inputs are on chain. Without forfeits it ends. With forfeits the chain decides: it has either the
/// transaction of the offboard, or the claims of the exits.
pub(super) async fn after_exit(
    wallet: &Wallet,
    id: &OperationId,
    offboard: &Offboard,
) -> Result<Option<Step<Offboard>>> {
    let inputs = offboard.inputs();
    if inputs.is_empty() || exited(wallet, inputs).await? == Exited::None {
        return Ok(None);
    }
    let forfeited_for = offboard.forfeited_for();
    if forfeited_for.is_empty() {
        return Ok(Some(abort(id, inputs_exited())));
    }
    if let Some(found) = find(wallet, &forfeited_for).await? {
        return Ok(match offboard {
            Offboard::Prepare { order, .. } => Some(accept_signed(id, order.clone(), found)),
            Offboard::Finish(prepared) => Some(accept_signed(id, prepared.order.clone(), found)),
            _ => None,
        });
    }
    if are_claims_final(wallet, inputs).await? {
        return Ok(Some(abort(id, inputs_exited())));
    }
    Ok(Some(Step::AwaitBlock))
}

/// Whether claims of the wallet have taken all of these VTXOs on chain, so deep that no forfeit can take one.
async fn are_claims_final(wallet: &Wallet, inputs: &[VtxoId]) -> Result<bool> {
    let tip = wallet.chain.tip().await?.height;
    for input in inputs {
        let of = *input;
        let own = wallet
            .store
            .read(move |connection| exit::last_of(connection, of))
            .await?;
        let own = own.and_then(|exit| exit.claim);
        let spend = wallet.chain.spender(input.to_point()).await?;
        let is_final = matches!(
            spend,
            Some(Spend { txid, status: TxStatus::Confirmed { height, .. } })
                if own == Some(txid) && tip.to_u32() + 1 >= height.to_u32() + FINAL_DEPTH
        );
        if !is_final {
            return Ok(false);
        }
    }
    Ok(true)
}

fn inputs_exited() -> Error {
    Error::conflict(
        "inputs_exited",
        "the coins of this offboard were exited while the Ark server did not complete it; nothing was paid",
    )
}
