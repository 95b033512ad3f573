//! The round's transaction: broadcast, confirmed; then the new leaves are cosigned (docs/protocol.md §4.5.2).

use ark_lib::VtxoId;
use ark_lib::tree::signed::LeafVtxoCosignContext;
use bitcoin::Transaction;

use super::{Exchange, Round, abort, expiry};
use crate::chain::{BroadcastError, TxStatus};
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::{WriteTx, key, vtxo};
use crate::wallet::engine::{Next, Step, VANISHED_PAUSE};
use crate::wallet::flows::send::EncodedVtxo;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Broadcasts the round's transaction unless the chain backend knows it, then locks the inputs for this refresh: the server
/// spent them in this round.
pub(super) async fn publish(
    wallet: &Wallet,
    id: &OperationId,
    exchange: Exchange,
) -> Result<Step<Round>> {
    let txid = exchange.funding_tx.compute_txid();
    if wallet.chain.status(txid).await? == TxStatus::NotFound {
        match wallet
            .chain
            .broadcast_package(std::slice::from_ref(&exchange.funding_tx))
            .await
        {
            Ok(()) => {}
            Err(BroadcastError::MissingOrSpent)
                if wallet.chain.is_double_spent(&exchange.funding_tx).await? =>
            {
                let message = "another transaction spent the inputs of the round's transaction; nothing was given up";
                let reason = Error::conflict("round_double_spent", message);
                return Ok(abort(id, MovementStatus::Failed, reason));
            }
            Err(error) => {
                return Err(Error::unavailable(
                    "chain_unavailable",
                    format!("the round's transaction {txid} cannot be broadcast: {error}"),
                ));
            }
        }
    }
    let (id, inputs) = (id.clone(), exchange.plan.inputs.clone());
    Ok(Step::commit(
        CommitPoint::RoundSeen,
        Next::State(Round::Confirm(exchange)),
        move |tx| inputs.iter().try_for_each(|input| seize(tx, *input, &id)),
    ))
}

/// Locks an input, whichever operation holds it. An exited VTXO stays exited; it is forfeited all the same.
fn seize(tx: &mut WriteTx<'_>, input: VtxoId, id: &OperationId) -> Result<()> {
    match vtxo::get(tx, input)? {
        Some(record) if record.state == VtxoState::Exited => Ok(()),
        _ => Ok(vtxo::seize(tx, input, id)?),
    }
}

/// Waits for confirmations, then has the new leaves cosigned. This is the last state from which the refresh can be aborted.
pub(super) async fn confirm(
    wallet: &Wallet,
    id: &OperationId,
    mut exchange: Exchange,
) -> Result<Step<Round>> {
    let needed = u32::from(wallet.settings.round_confirmations);
    let txid = exchange.funding_tx.compute_txid();
    match wallet.chain.confirmations(txid).await? {
        None => {
            tracing::warn!(%txid, "round transaction not found; broadcasting it again");
            return Ok(Step::commit(
                CommitPoint::RoundSeen,
                Next::Later(Round::Issued(exchange), VANISHED_PAUSE),
                |_| Ok(()),
            ));
        }
        Some(depth) if depth < needed => return Ok(Step::AwaitBlock),
        Some(_) => {}
    }
    let inputs = wallet.full_vtxos(exchange.plan.inputs.clone()).await?;
    wallet.server.register_chains(&inputs).await?;
    for output in &mut exchange.outputs {
        sign_leaf(wallet, output, &exchange.funding_tx).await?;
    }
    let expire_too_soon = match expiry::least_for_outputs(wallet, &inputs).await? {
        Some(least) => exchange
            .outputs
            .iter()
            .any(|output| output.0.expiry_height() < least),
        None => false,
    };
    if expire_too_soon {
        let message = "the new VTXOs would expire too soon to be safe; nothing was given up. The old ones can be taken on chain with an exit";
        let reason = Error::conflict("round_expires_too_soon", message);
        return Ok(abort(id, MovementStatus::Failed, reason));
    }
    Ok(Step::commit(
        CommitPoint::RoundForfeiting,
        Next::State(Round::Forfeit(exchange)),
        |_| Ok(()),
    ))
}

/// Completes the signature of a new VTXO's last transaction. The server keeps no state for it: each try may use new nonces.
async fn sign_leaf(
    wallet: &Wallet,
    output: &mut EncodedVtxo,
    funding_tx: &Transaction,
) -> Result<()> {
    let pubkey = output.0.user_pubkey();
    let index = wallet
        .store
        .read(move |connection| key::index_of(connection, &pubkey))
        .await?;
    let unknown = || Error::internal(anyhow::anyhow!("the key {pubkey} is not in the key table"));
    let key = wallet.keys.vtxo_key(index.ok_or_else(unknown)?)?;
    let (context, request) = LeafVtxoCosignContext::new(&output.0, funding_tx, &key)
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
    let response = wallet.server.cosign_leaf(request).await?;
    if context.finalize(&mut output.0, response) {
        return Ok(());
    }
    Err(Error::unavailable(
        "server_unavailable",
        "the Ark server's signature on a new VTXO is not valid; nothing was given up",
    ))
}
