//! Boards that the server does not register in time (H53).

use ark_lib::VtxoId;
use bitcoin_ext::BlockHeight;

use super::Board;
use crate::model::OperationRow;
use crate::wallet::engine::state_of;
use crate::wallet::engine::steps::exited::savable;
use crate::wallet::{Result, Wallet};

/// The VTXO of a confirmed board, from the last height on at which its exit should begin. The server can take the board's output when the
/// VTXO expires.
pub(in crate::wallet) async fn endangered(
    wallet: &Wallet,
    row: &OperationRow,
    tip: BlockHeight,
) -> Result<Vec<VtxoId>> {
    let Board::Confirm(signed) = state_of(row)? else {
        return Ok(Vec::new());
    };
    let vtxo = wallet.full_vtxos(vec![signed.vtxo]).await?.remove(0);
    if tip < wallet.last_exit_start(&vtxo) {
        return Ok(Vec::new());
    }
    let funding = signed.funding_tx.compute_txid();
    if !wallet.chain.status(funding).await?.is_confirmed() {
        return Ok(Vec::new());
    }
    savable(wallet, &[signed.vtxo]).await
}
