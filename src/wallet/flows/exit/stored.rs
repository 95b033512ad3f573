//! What the database has of the transactions that exits need.

use bitcoin::{Transaction, Txid};

use crate::model::{ChildOrigin, ExitChild};
use crate::store::{anchor as anchors, exit};
use crate::wallet::{Result, Wallet};

/// The child of a transaction, if one is known.
pub(super) async fn child(wallet: &Wallet, parent: Txid) -> Result<Option<ExitChild>> {
    let read = move |connection: &_| exit::child(connection, parent);
    Ok(wallet.store.read(read).await?)
}

/// Whether the wallet has made this child.
pub(super) async fn is_ours(wallet: &Wallet, parent: Txid, txid: Txid) -> Result<bool> {
    let row = child(wallet, parent).await?;
    let by_row = row.filter(|row| row.txid == txid);
    Ok(match by_row {
        Some(row) => row.origin == ChildOrigin::Wallet,
        None => wallet.onchain.transaction(txid).is_some(),
    })
}

/// The transaction that a VTXO hangs from, if it is stored.
pub(super) async fn anchor(wallet: &Wallet, txid: Txid) -> Result<Option<Transaction>> {
    let read = move |connection: &_| anchors::get(connection, txid);
    Ok(wallet.store.read(read).await?)
}
