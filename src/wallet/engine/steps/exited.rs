//! What an operation knows of VTXOs that were exited while it held them. Once its own transaction is confirmed, a VTXO can be spent on
//! chain only: the operation has to end, or to go on with what the chain shows (docs/protocol.md §4.9).

use ark_lib::VtxoId;
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;

use crate::model::VtxoState;
use crate::store::vtxo;
use crate::wallet::{Result, Wallet};

/// How far the exits of VTXOs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Exited {
    /// None is exited.
    None,
    /// Some are.
    Some,
    /// All are, and the output of one at least is not spent yet.
    All,
    /// All are, and all outputs are spent on chain.
    Claimed,
}

/// How far the exits of these VTXOs are.
///
/// # Errors
/// The database's.
pub(in crate::wallet) async fn exited(wallet: &Wallet, vtxos: &[VtxoId]) -> Result<Exited> {
    let records = wallet.records(vtxos.to_vec()).await?;
    let exited = records.iter().filter(|it| it.state == VtxoState::Exited);
    let claimed = records.iter().filter(|it| it.claimed).count();
    Ok(match exited.count() {
        0 => Exited::None,
        all if all == records.len() && claimed == all => Exited::Claimed,
        all if all == records.len() => Exited::All,
        _ => Exited::Some,
    })
}

/// Those of these VTXOs that an exit can still save: they are neither spent nor exited.
///
/// # Errors
/// The database's.
pub(in crate::wallet) async fn savable(wallet: &Wallet, vtxos: &[VtxoId]) -> Result<Vec<VtxoId>> {
    let records = wallet.records(vtxos.to_vec()).await?;
    let savable = records
        .iter()
        .filter(|it| !matches!(it.state, VtxoState::Exited | VtxoState::Spent));
    Ok(savable.map(|it| it.id).collect())
}

/// These VTXOs if one of them expires so soon that all have to be exited now.
///
/// # Errors
/// The database's.
pub(in crate::wallet) async fn last_call(
    wallet: &Wallet,
    vtxos: &[VtxoId],
    tip: BlockHeight,
) -> Result<Vec<VtxoId>> {
    let bodies = wallet.full_vtxos(vtxos.to_vec()).await?;
    match bodies.iter().any(|it| tip >= wallet.last_exit_start(it)) {
        true => savable(wallet, vtxos).await,
        false => Ok(Vec::new()),
    }
}

/// Whether a VTXO is exited.
pub(in crate::wallet) fn is_exited(connection: &Connection, id: VtxoId) -> Result<bool> {
    let record = vtxo::get(connection, id)?;
    Ok(record.is_some_and(|it| it.state == VtxoState::Exited))
}
