//! HTLCs of a payment that are about to be lost (H22).

use ark_lib::VtxoId;
use bitcoin_ext::BlockHeight;

use super::{LightningSend, facts};
use crate::model::OperationRow;
use crate::wallet::engine::state_of;
use crate::wallet::engine::steps::exited::{Exited, exited, savable};
use crate::wallet::{Result, Wallet};

/// The HTLCs of a payment that have to be exited: the server can take what they hang from when they expire. Once one of them is on
/// chain, the server does not give the others back either.
///
/// Whether they are exited by themselves is a setting; without it, the operator is told.
pub(in crate::wallet) async fn endangered(
    wallet: &Wallet,
    row: &OperationRow,
    tip: BlockHeight,
) -> Result<Vec<VtxoId>> {
    let state: LightningSend = state_of(row)?;
    let Some(htlcs) = state.htlcs() else {
        return Ok(Vec::new());
    };
    let vtxos = wallet.full_vtxos(htlcs.ids.clone()).await?;
    let last = vtxos.iter().map(|htlc| wallet.last_exit_start(htlc)).min();
    let is_late = last.is_some_and(|last| tip >= last);
    if !is_late && exited(wallet, &htlcs.ids).await? == Exited::None {
        return Ok(Vec::new());
    }
    let savable = savable(wallet, &htlcs.ids).await?;
    if savable.is_empty() || wallet.exits_htlcs(&savable).await? {
        return Ok(savable);
    }
    let expiry = vtxos.iter().map(ark_lib::Vtxo::expiry_height).min();
    let expiry = expiry.unwrap_or(BlockHeight::ZERO);
    wallet
        .raise(facts::expiring(&row.id, &savable, expiry))
        .await?;
    Ok(Vec::new())
}
