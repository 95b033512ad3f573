//! The steps after a round has happened: its transaction confirms, and the inputs are given up for the preimage that unlocks
//! the new VTXOs (docs/protocol.md §4.5.2).

use ark_lib::VtxoId;
use ark_lib::forfeit::HashLockedForfeitBundle;
use ark_lib::tree::signed::LeafVtxoCosignContext;
use bitcoin::Transaction;
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::{Released, Round, Swap, abort};
use crate::ark;
use crate::chain::{BroadcastError, TxStatus};
use crate::model::MovementStatus;
use crate::model::OperationId;
use crate::model::VtxoState;
use crate::store::movement;
use crate::store::vtxo;
use crate::store::{WriteTx, anchor};
use crate::wallet::engine::clock;
use crate::wallet::engine::{Next, Step, Tries, VANISHED_PAUSE};
use crate::wallet::flows::send::EncodedVtxo;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

impl Wallet {
    /// The tip, and how long a VTXO has to live at least so that it can be exited after one that it takes the place of (H11).
    pub(super) async fn exit_room(
        &self,
        longest_delta: BlockDelta,
    ) -> Result<(BlockHeight, BlockHeight)> {
        let tip = self.chain.tip().await?.height;
        let margin = self.settings.exit_margin;
        let room = tip
            .checked_add(margin)
            .and_then(|height| height.checked_add(margin))
            .and_then(|height| height.checked_add(longest_delta));
        let room = room.ok_or_else(|| Error::internal(anyhow::anyhow!("the tip overflows")))?;
        Ok((tip, room))
    }
}

/// Sees to it that the round's transaction is out, and takes the inputs: the server has given them to this round.
pub(super) async fn publish(wallet: &Wallet, id: &OperationId, swap: Swap) -> Result<Step<Round>> {
    let txid = swap.funding_tx.compute_txid();
    if wallet.chain.status(txid).await? == TxStatus::NotFound {
        match wallet
            .chain
            .broadcast_package(std::slice::from_ref(&swap.funding_tx))
            .await
        {
            Ok(()) => {}
            Err(BroadcastError::MissingOrSpent)
                if wallet.chain.is_double_spent(&swap.funding_tx).await? =>
            {
                let message =
                    "the round's transaction was replaced by another; nothing was given up";
                let reason = Error::conflict("round_double_spent", message);
                return Ok(abort(id, MovementStatus::Failed, reason));
            }
            Err(error) => {
                return Err(Error::unavailable(
                    "chain_unavailable",
                    format!("the round's transaction {txid} does not get out: {error}"),
                ));
            }
        }
    }
    let (id, inputs) = (id.clone(), swap.inputs.clone());
    Ok(Step::commit(
        CommitPoint::RoundSeen,
        Next::State(Round::Confirm(swap)),
        move |tx| inputs.iter().try_for_each(|input| seize(tx, *input, &id)),
    ))
}

/// Takes an input. One that is on chain already stays there, and is given up all the same if it comes to that.
fn seize(tx: &mut WriteTx<'_>, input: VtxoId, id: &OperationId) -> Result<()> {
    match vtxo::get(tx, input)? {
        Some(record) if record.state == VtxoState::Exited => Ok(()),
        _ => Ok(vtxo::seize(tx, input, id)?),
    }
}

/// Once the transaction is deep enough, gets the new VTXOs signed. The last chance to keep the inputs instead.
pub(super) async fn confirm(
    wallet: &Wallet,
    id: &OperationId,
    mut swap: Swap,
) -> Result<Step<Round>> {
    let needed = u32::from(wallet.settings.round_confirmations);
    match wallet
        .chain
        .confirmations(swap.funding_tx.compute_txid())
        .await?
    {
        None => {
            tracing::warn!("the round's transaction has vanished; it is broadcast again");
            return Ok(Step::commit(
                CommitPoint::RoundSeen,
                Next::Later(Round::Issued(swap), VANISHED_PAUSE),
                |_| Ok(()),
            ));
        }
        Some(depth) if depth < needed => return Ok(Step::AwaitBlock),
        Some(_) => {}
    }
    let inputs = wallet.full_vtxos(swap.inputs.clone()).await?;
    wallet.server.register_chains(&inputs).await?;
    for output in &mut swap.outputs {
        sign_leaf(wallet, output, &swap.funding_tx).await?;
    }

    let longest = inputs.iter().map(ark_lib::Vtxo::exit_delta).max();
    let (tip, room) = wallet
        .exit_room(longest.unwrap_or(BlockDelta::ZERO))
        .await?;
    let expired = inputs.iter().all(|input| input.expiry_height() <= tip);
    let lives_on = swap
        .outputs
        .iter()
        .all(|output| output.0.expiry_height() >= room);
    if !lives_on && !expired {
        let message = "the new VTXOs would expire too soon to be safe; nothing was given up. The old ones can be taken on chain with an exit";
        let reason = Error::conflict("round_expires_too_soon", message);
        return Ok(abort(id, MovementStatus::Failed, reason));
    }
    Ok(Step::commit(
        CommitPoint::RoundForfeiting,
        Next::State(Round::Forfeit(swap)),
        |_| Ok(()),
    ))
}

/// Completes the signature of a new VTXO's last transaction. The server keeps nothing of it, so it can be asked at any time.
async fn sign_leaf(
    wallet: &Wallet,
    output: &mut EncodedVtxo,
    funding_tx: &Transaction,
) -> Result<()> {
    let pubkey = output.0.user_pubkey();
    let index = wallet
        .store
        .read(move |connection| crate::store::key::index_of(connection, &pubkey))
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

/// Gives up the inputs for the preimage. This may have happened before; asking again brings the preimage again.
pub(super) async fn forfeit(
    wallet: &Wallet,
    id: &OperationId,
    swap: Swap,
    tries: Tries,
) -> Result<Step<Round>> {
    match exchange(wallet, &swap).await {
        Ok(outputs) => Ok(release(id, swap, outputs)),
        Err(error) => Err(withheld(wallet, &swap, tries, error).await),
    }
}

async fn exchange(wallet: &Wallet, swap: &Swap) -> Result<Vec<ark_lib::Vtxo>> {
    let nonces = wallet
        .server
        .forfeit_nonces(swap.unlock_hash, &swap.inputs)
        .await?;
    let inputs = wallet.signers(swap.inputs.clone()).await?;
    let bundles: Vec<_> = inputs
        .iter()
        .zip(&nonces)
        .map(|((input, key), nonce)| {
            HashLockedForfeitBundle::new(input, swap.unlock_hash, key, nonce)
        })
        .collect();
    let preimage = wallet.server.forfeit(&bundles).await?;
    let outputs = swap.outputs.iter().map(|output| {
        let mut unlocked = output.0.clone();
        let fits = unlocked.provide_unlock_preimage(preimage);
        if fits && unlocked.validate(&swap.funding_tx).is_ok() {
            return Ok(unlocked);
        }
        Err(Error::unavailable(
            "server_unavailable",
            "the Ark server's preimage does not unlock the new VTXOs",
        ))
    });
    outputs.collect()
}

/// What it means that the preimage does not come: nothing yet, or that it is time for an exit (W11).
async fn withheld(wallet: &Wallet, swap: &Swap, tries: Tries, error: Error) -> Error {
    let deadline = match deadline(wallet, swap).await {
        Ok(deadline) => deadline,
        Err(unknown) => return unknown,
    };
    let tip = wallet.chain.last_tip().map(|tip| tip.height);
    let (reason, hash) = (error.message(), swap.unlock_hash);
    if tip.is_none_or(|tip| tip < deadline) {
        let message = format!(
            "the forfeits may be with the Ark server, but the preimage has not come; it is asked for again, in time until height {deadline}: {reason}"
        );
        return Error::unavailable("preimage_withheld", message);
    }
    // One line for each doubling of the tries, as long as it lasts.
    if tries.failed.is_power_of_two() || tries.failed == 0 {
        tracing::error!(unlock_hash = %hash, inputs = ?swap.inputs, %deadline,
            "the Ark server withholds the preimage of a round. Take the inputs on chain with an exit NOW: the server must then reveal the preimage, or leave the coins to you");
    }
    let message = format!(
        "the Ark server withholds the preimage, and the height {deadline} has passed: take the inputs on chain with an exit now; the refresh goes on by itself when the preimage comes: {reason}"
    );
    Error::unavailable("preimage_withheld", message)
}

/// The last height at which an exit of the inputs leaves time for what may have to follow: before they expire, and with room
/// to exit the outputs afterwards.
async fn deadline(wallet: &Wallet, swap: &Swap) -> Result<BlockHeight> {
    let inputs = wallet.full_vtxos(swap.inputs.clone()).await?;
    let margin = wallet.settings.exit_margin;
    let delta = inputs.iter().map(ark_lib::Vtxo::exit_delta).max();
    let by_inputs = inputs.iter().map(ark_lib::Vtxo::expiry_height).min();
    let outputs = swap.outputs.iter().map(|output| output.0.expiry_height());
    let by_outputs = outputs.min().map(|expiry| {
        let delta = delta.unwrap_or(BlockDelta::ZERO);
        expiry.saturating_sub(delta).saturating_sub(margin)
    });
    let first = by_inputs.into_iter().chain(by_outputs).min();
    Ok(first.unwrap_or(BlockHeight::ZERO).saturating_sub(margin))
}

/// The exchange is made: everything that it changes, at once.
fn release(id: &OperationId, swap: Swap, outputs: Vec<ark_lib::Vtxo>) -> Step<Round> {
    let released = Released {
        unlock_hash: swap.unlock_hash,
        inputs: swap.inputs.clone(),
        funding_tx: swap.funding_tx.clone(),
        outputs: outputs.iter().map(ark_lib::Vtxo::id).collect(),
    };
    let (id, ids) = (id.clone(), released.outputs.clone());
    tracing::info!(unlock_hash = %swap.unlock_hash, vtxos = ids.len(), "refreshed");
    Step::commit(
        CommitPoint::RoundUnlocked,
        Next::State(Round::Register(released)),
        move |tx| {
            for input in &swap.inputs {
                let record = vtxo::get(tx, *input)?;
                if record.is_some_and(|record| record.state != VtxoState::Exited) {
                    vtxo::spend(tx, *input)?;
                }
            }
            anchor::insert(tx, &swap.funding_tx)?;
            for output in &outputs {
                vtxo::insert(tx, output, VtxoState::Spendable)?;
            }
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                let now = clock::now_millis();
                movement::add_outputs(tx, movement, &ids, now)?;
                movement::finish(tx, movement, MovementStatus::Successful, None, now)?;
            }
            Ok(())
        },
    )
}

/// Uploads the new chains, without which the server does not let them be spent (H34).
pub(super) async fn register(wallet: &Wallet, released: Released) -> Result<Step<Round>> {
    let outputs = wallet.full_vtxos(released.outputs.clone()).await?;
    let registered = match wallet.server.register_chains(&outputs).await {
        Ok(()) => released.outputs,
        // Whoever spends them uploads them again; the refresh is done.
        Err(error @ ark::Error::Rejected { .. }) => {
            tracing::warn!(%error, "the server refuses the new signed chains");
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    wallet.received.notify_one();
    Ok(Step::commit(
        CommitPoint::RoundOutputsRegistered,
        Next::Done,
        move |tx| Ok(vtxo::set_registered(tx, &registered, true)?),
    ))
}
