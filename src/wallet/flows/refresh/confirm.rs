//! The round's transaction: broadcast, confirmed; then the new leaves are cosigned (docs/protocol.md §4.5.2).

use ark_lib::tree::signed::LeafVtxoCosignContext;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::Transaction;
use rusqlite::Connection;

use super::plan::inputs_gone;
use super::{Exchange, Round, bodies, expiry};
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::{WriteTx, key, movement, vtxo};
use crate::wallet::engine::steps::broadcast::{self, Broadcast, Depth, broadcast_again};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Broadcasts the round's transaction unless the chain backend knows it, then locks the inputs for this refresh: the server
/// spent them in this round.
pub(super) async fn publish(
    wallet: &Wallet,
    id: &OperationId,
    exchange: Exchange,
) -> Result<Step<Round>> {
    match broadcast::broadcast(wallet, &exchange.funding_tx).await? {
        Broadcast::Out => {}
        Broadcast::DoubleSpent => {
            let message = "another transaction spent the inputs of the round's transaction; nothing was given up";
            let reason = Error::conflict("round_double_spent", message);
            return Ok(abort_issued(id, exchange, reason));
        }
        Broadcast::Failed(error) => {
            let txid = exchange.funding_tx.compute_txid();
            return Err(broadcast::not_broadcast("round's", txid, &error));
        }
    }
    let (id, inputs) = (id.clone(), exchange.plan.inputs.clone());
    Ok(Step::commit(
        CommitPoint::RoundSeen,
        Next::State(Round::Confirm(exchange)),
        move |tx| inputs.iter().try_for_each(|input| seize(tx, *input, &id)),
    ))
}

/// Locks an input, whichever operation holds it. An exited VTXO stays exited and a spent one spent.
fn seize(tx: &mut WriteTx<'_>, input: VtxoId, id: &OperationId) -> Result<()> {
    match vtxo::get(tx, input)? {
        Some(record) if matches!(record.state, VtxoState::Exited | VtxoState::Spent) => Ok(()),
        _ => Ok(vtxo::seize(tx, input, id)?),
    }
}

/// Waits for confirmations, then has the new leaves cosigned. This is the last state from which the refresh can be aborted.
pub(super) async fn confirm(
    wallet: &Wallet,
    id: &OperationId,
    exchange: Exchange,
) -> Result<Step<Round>> {
    let needed = u32::from(wallet.settings.round_confirmations);
    let txid = exchange.funding_tx.compute_txid();
    match broadcast::depth(wallet, txid, needed).await? {
        Depth::Reached => {}
        Depth::Waiting => return Ok(Step::AwaitBlock),
        Depth::Vanished => {
            let issued = Round::Issued(exchange);
            return Ok(broadcast_again(CommitPoint::RoundSeen, issued));
        }
    }
    if let Some(input) = spent_otherwise(wallet, id, &exchange).await? {
        tracing::error!(%input, "the Ark server has used a VTXO in a round that the wallet has spent otherwise; not forfeiting it");
        let message = format!(
            "the wallet has spent VTXO {input} otherwise, so no honest server can have used it in this round; nothing was given up"
        );
        let reason = Error::conflict("inputs_gone", message);
        return Ok(abort_issued(id, exchange, reason));
    }
    let inputs = wallet.full_vtxos(exchange.plan.inputs.clone()).await?;
    wallet.server.register_chains(&inputs).await?;
    let mut outputs = wallet.full_vtxos(exchange.outputs.clone()).await?;
    for output in &mut outputs {
        sign_leaf(wallet, output, &exchange.funding_tx).await?;
    }
    let expire_too_soon = match expiry::least_for_outputs(wallet, &inputs).await? {
        Some(least) => outputs.iter().any(|output| output.expiry_height() < least),
        None => false,
    };
    if expire_too_soon {
        let message = "the new VTXOs would expire too soon to be safe; nothing was given up. The old ones can be taken on chain with an exit";
        let reason = Error::conflict("round_expires_too_soon", message);
        return Ok(abort_issued(id, exchange, reason));
    }
    let (id, given) = (id.clone(), exchange.plan.inputs.clone());
    Ok(Step::commit(
        CommitPoint::RoundForfeiting,
        Next::State(Round::Forfeit(exchange)),
        move |tx| match given_away(tx, &id, &given)? {
            None => bodies::store_signed(tx, &outputs),
            // The next try of the step ends the refresh.
            Some(_) => Err(inputs_gone()),
        },
    ))
}

async fn spent_otherwise(
    wallet: &Wallet,
    id: &OperationId,
    exchange: &Exchange,
) -> Result<Option<VtxoId>> {
    let (id, inputs) = (id.clone(), exchange.plan.inputs.clone());
    wallet
        .store
        .read(move |connection| given_away(connection, &id, &inputs))
        .await
}

/// The first of these VTXOs that another operation of the wallet has spent. A forfeit would spend it a second time: with it, the
/// server could take the VTXO from the one whom the wallet has paid.
pub(super) fn given_away(
    connection: &Connection,
    id: &OperationId,
    inputs: &[VtxoId],
) -> Result<Option<VtxoId>> {
    for input in inputs {
        let record = vtxo::get(connection, *input)?;
        if record.is_some_and(|record| record.state == VtxoState::Spent)
            && movement::is_spent_by_another(connection, *input, id)?
        {
            return Ok(Some(*input));
        }
    }
    Ok(None)
}

/// Completes the signature of a new VTXO's last transaction. The server keeps no state for it: each try may use new nonces.
async fn sign_leaf(
    wallet: &Wallet,
    output: &mut Vtxo<Full>,
    funding_tx: &Transaction,
) -> Result<()> {
    let pubkey = output.user_pubkey();
    let index = wallet
        .store
        .read(move |connection| key::index_of(connection, &pubkey))
        .await?;
    let unknown = || Error::internal(anyhow::anyhow!("the key {pubkey} is not in the key table"));
    let key = wallet.keys.vtxo_key(index.ok_or_else(unknown)?)?;
    let (context, request) = LeafVtxoCosignContext::new(output, funding_tx, &key)
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
    let response = wallet.server.cosign_leaf(request).await?;
    if context.finalize(output, response) {
        return Ok(());
    }
    Err(Error::unavailable(
        "server_unavailable",
        "the Ark server's signature on a new VTXO is not valid; nothing was given up",
    ))
}

/// Ends an issued refresh without effect: nothing was forfeited, and the inputs are released.
pub(super) fn abort_issued(id: &OperationId, exchange: Exchange, reason: Error) -> Step<Round> {
    let id = id.clone();
    Step::commit(
        CommitPoint::RoundWithdrawn,
        Next::Failed(reason),
        move |tx| {
            bodies::delete(tx, &id, &exchange)?;
            vtxo::release(tx, &id)?;
            end::fail_movement(tx, &id, MovementStatus::Failed)
        },
    )
}
