//! The forfeit exchange: the inputs are forfeited for the preimage that unlocks the new VTXOs (docs/protocol.md §4.5.2).

use ark_lib::Vtxo;
use ark_lib::forfeit::HashLockedForfeitBundle;
use ark_lib::vtxo::Full;

use super::{Exchange, Round, expiry};
use crate::model::{OperationId, VtxoState};
use crate::store::{anchor, vtxo};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Sends the forfeits until the server answers with the preimage. The server answers repeated forfeits with the same preimage.
pub(super) async fn forfeit(
    wallet: &Wallet,
    id: &OperationId,
    exchange: Exchange,
    tries: Tries,
) -> Result<Step<Round>> {
    match send_forfeits(wallet, &exchange).await {
        Ok(unlocked) => Ok(complete(id, exchange, unlocked)),
        Err(error) => Err(preimage_missing(wallet, &exchange, tries, error).await),
    }
}

/// Forfeits the inputs, and unlocks the new VTXOs with the preimage.
async fn send_forfeits(wallet: &Wallet, exchange: &Exchange) -> Result<Vec<Vtxo<Full>>> {
    let nonces = wallet
        .server
        .forfeit_nonces(exchange.unlock_hash, &exchange.plan.inputs)
        .await?;
    let inputs = wallet.signers(exchange.plan.inputs.clone()).await?;
    let bundles: Vec<_> = inputs
        .iter()
        .zip(&nonces)
        .map(|((input, key), nonce)| {
            HashLockedForfeitBundle::new(input, exchange.unlock_hash, key, nonce)
        })
        .collect();
    let mut outputs = wallet.full_vtxos(exchange.outputs.clone()).await?;
    let preimage = wallet.server.forfeit(&bundles).await?;
    for output in &mut outputs {
        let fits = output.provide_unlock_preimage(preimage);
        if !fits || output.validate(&exchange.funding_tx).is_err() {
            return Err(Error::unavailable(
                "server_unavailable",
                "the Ark server's preimage does not unlock the new VTXOs",
            ));
        }
    }
    Ok(outputs)
}

/// The error that reports a missing preimage. From the exit deadline on it asks for an exit of the inputs (W11).
async fn preimage_missing(
    wallet: &Wallet,
    exchange: &Exchange,
    tries: Tries,
    error: Error,
) -> Error {
    let deadline = match expiry::exit_deadline(wallet, exchange).await {
        Ok(deadline) => deadline,
        Err(unreadable) => return unreadable,
    };
    let tip = wallet.chain.last_tip().map(|tip| tip.height);
    let reason = error.message();
    if tip.is_none_or(|tip| tip < deadline) {
        let message = format!(
            "the forfeits may be with the Ark server, but the preimage has not arrived; retrying, safely until height {deadline}: {reason}"
        );
        return Error::unavailable("preimage_withheld", message);
    }
    // Logged at each doubling of the failures.
    if tries.failed.is_power_of_two() || tries.failed == 0 {
        tracing::error!(unlock_hash = %exchange.unlock_hash, inputs = ?exchange.plan.inputs, %deadline,
            "the Ark server withholds the preimage of a round. Exit the inputs NOW: the server must then reveal the preimage, or leave the coins to you");
    }
    let message = format!(
        "the Ark server withholds the preimage, and height {deadline} has passed: exit now with the inputs; the refresh completes by itself if the preimage arrives: {reason}"
    );
    Error::unavailable("preimage_withheld", message)
}

/// Stores the completed exchange in one transaction: inputs spent, new VTXOs spendable, movement finished.
fn complete(id: &OperationId, exchange: Exchange, unlocked: Vec<Vtxo<Full>>) -> Step<Round> {
    let (id, inputs) = (id.clone(), exchange.plan.inputs.clone());
    let funding_tx = exchange.funding_tx.clone();
    tracing::info!(unlock_hash = %exchange.unlock_hash, vtxos = unlocked.len(), "refreshed");
    Step::commit(
        CommitPoint::RoundUnlocked,
        Next::State(Round::RegisterOutputs(exchange)),
        move |tx| {
            end::spend_forfeited(tx, &inputs)?;
            anchor::insert(tx, &funding_tx)?;
            for output in &unlocked {
                vtxo::insert(tx, output, VtxoState::Spendable)?;
            }
            let ids: Vec<_> = unlocked.iter().map(Vtxo::id).collect();
            end::add_outputs(tx, &id, &ids)?;
            end::succeed(tx, &id)
        },
    )
}
