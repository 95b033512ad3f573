//! The forfeit exchange: the inputs are forfeited for the preimage that unlocks the new VTXOs (docs/protocol.md §4.5.2).

use ark_lib::forfeit::HashLockedForfeitBundle;
use ark_lib::tree::signed::UnlockPreimage;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::SignedAmount;

use super::withheld::{self, OnChain};
use super::{Exchange, Round, expiry};
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::{WriteTx, anchor, exit, movement, vtxo};
use crate::wallet::engine::steps::end::{self, signed};
use crate::wallet::engine::{Next, Step, Tries, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Sends the forfeits until the server answers with the preimage. The server answers repeated forfeits with the same preimage.
pub(super) async fn forfeit(
    wallet: &Wallet,
    id: &OperationId,
    exchange: Exchange,
    tries: Tries,
) -> Result<Step<Round>> {
    let error = match send_forfeits(wallet, &exchange).await {
        Ok(unlocked) => return complete(id, exchange, unlocked),
        Err(error) => error,
    };
    match withheld::look(wallet, &exchange).await? {
        OnChain::Revealed(preimage) => {
            tracing::warn!(unlock_hash = %exchange.unlock_hash, "the Ark server has claimed a forfeit, and so revealed the preimage that it withheld");
            let unlocked = unlock(wallet, &exchange, preimage).await?;
            complete(id, exchange, unlocked)
        }
        OnChain::Returned => Ok(withheld::returned(id, exchange)),
        OnChain::Waiting => Err(preimage_missing(wallet, &exchange, tries, error).await),
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
    let preimage = wallet.server.forfeit(&bundles).await?;
    unlock(wallet, exchange, preimage).await
}

/// Completes the new VTXOs with the preimage.
async fn unlock(
    wallet: &Wallet,
    exchange: &Exchange,
    preimage: UnlockPreimage,
) -> Result<Vec<Vtxo<Full>>> {
    let mut outputs = wallet.full_vtxos(exchange.outputs.clone()).await?;
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
            "the Ark server withholds the preimage of a round; the inputs are exited, so that it has to reveal the preimage, or to leave the coins to the wallet");
    }
    let message = format!(
        "the Ark server withholds the preimage, and height {deadline} has passed: the inputs are exited; the refresh completes by itself if the preimage arrives: {reason}"
    );
    Error::unavailable("preimage_withheld", message)
}

/// Stores the completed exchange in one transaction: inputs spent, new VTXOs spendable, movement finished.
fn complete(
    id: &OperationId,
    exchange: Exchange,
    unlocked: Vec<Vtxo<Full>>,
) -> Result<Step<Round>> {
    let (id, inputs, fee) = (id.clone(), exchange.plan.inputs.clone(), exchange.plan.fee);
    let charge = signed(fee)?;
    let funding_tx = exchange.funding_tx.clone();
    tracing::info!(unlock_hash = %exchange.unlock_hash, vtxos = unlocked.len(), "refreshed");
    Ok(Step::commit(
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
            let exited = booked_by_exits(tx, &inputs)?;
            if exited != SignedAmount::ZERO {
                let (movement, now) = (end::movement_of(tx, &id)?, clock::now_millis());
                movement::revise(tx, movement, &inputs, exited - charge, fee, now)?;
            }
            end::succeed(tx, &id)
        },
    ))
}

/// What the movements of exits have taken out of the balance for these VTXOs.
fn booked_by_exits(tx: &WriteTx<'_>, inputs: &[VtxoId]) -> Result<SignedAmount> {
    let mut booked = SignedAmount::ZERO;
    for input in inputs {
        let Some(exit) = exit::last_of(tx, *input)? else {
            continue;
        };
        let movement = movement::get(tx, end::movement_of(tx, &exit.operation)?)?;
        if let Some(movement) = movement
            && movement.status == MovementStatus::Successful
        {
            booked -= movement.effective_balance;
        }
    }
    Ok(booked)
}
