//! Handing VTXOs over to another wallet of the server.

use ark_lib::address::VtxoDelivery;
use ark_lib::{Address, VtxoId};

use crate::wallet::{Result, Wallet};

/// Posts VTXOs, whose bodies are in the store, to the payee's mailboxes until one takes them. Can be repeated.
///
/// # Errors
/// None of the mailboxes takes them now.
pub(in crate::wallet) async fn post(
    wallet: &Wallet,
    payee: &Address,
    outgoing: &[VtxoId],
) -> Result<()> {
    let vtxos = wallet.full_vtxos(outgoing.to_vec()).await?;
    let mut failure = None;
    for delivery in payee.delivery() {
        let VtxoDelivery::ServerMailbox { blinded_id } = delivery else {
            continue;
        };
        match wallet.server.post_arkoor(blinded_id, &vtxos).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}
