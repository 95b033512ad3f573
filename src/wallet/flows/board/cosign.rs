//! The step that makes a board safe: the server signs the exit before anything is broadcast.

use std::time::Duration;

use ark_lib::Vtxo;
use ark_lib::board::BoardBuilder;
use ark_lib::vtxo::Full;
use bitcoin::Transaction;

use super::confirm::double_spent;
use super::{Board, FundedBoard, SignedBoard};
use crate::ark;
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::{anchor, vtxo};
use crate::wallet::engine::steps::broadcast::coins_are_gone;
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// How the server says that its node does not know a parent of the funding transaction.
const UNKNOWN_PARENT: &str = "unknown input tx";
/// Confirmations of a parent after which the server's node must know it.
const DEEP: u32 = 6;
/// The pause before the server is asked again whether its node knows the parents, without a block in between.
const NODE_LAG: Duration = Duration::from_secs(3);

/// Requests the server's half of the exit's signature, and stores the VTXO with the signed funding transaction.
pub(super) async fn cosign(
    wallet: &Wallet,
    id: &OperationId,
    funded: FundedBoard,
    tries: Tries,
) -> Result<Step<Board>> {
    let unsigned = funded.psbt.unsigned_tx.clone();
    let signed = match sign(wallet, funded).await {
        Ok(Ok(signed)) => Ok(signed),
        Ok(Err(ark::Error::Rejected { message, .. })) => {
            if message.contains(UNKNOWN_PARENT) {
                return wait_for_parents(wallet, id, &unsigned, &message).await;
            }
            return Ok(abort(wallet, id, refused(&message)));
        }
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(error),
    };
    let (vtxo, funding_tx) = match signed {
        Ok(signed) => signed,
        // The server keeps nothing of a board before it is registered, so this one can be dropped after any failure (H52).
        Err(error) if tries.exhausted() => return Ok(abort(wallet, id, error)),
        Err(error) => return Err(error),
    };
    let next = SignedBoard {
        funding_tx: funding_tx.clone(),
        was_broadcast: false,
        vtxo: vtxo.id(),
        net: vtxo.amount(),
    };
    let holder = id.clone();
    Ok(Step::commit(
        CommitPoint::BoardCosigned,
        Next::State(Board::Broadcast(next)),
        move |tx| {
            anchor::insert(tx, &funding_tx)?;
            vtxo::insert(tx, &vtxo, VtxoState::Locked(Some(holder)))?;
            Ok(())
        },
    ))
}

/// Goes on from a refusal because the server's node does not know a parent of the funding transaction: nodes get transactions at
/// different times. The server is asked again until all parents are deep, so that its node must have them, or until they can never
/// confirm.
async fn wait_for_parents(
    wallet: &Wallet,
    id: &OperationId,
    unsigned: &Transaction,
    message: &str,
) -> Result<Step<Board>> {
    if coins_are_gone(wallet, unsigned).await? {
        return Ok(abort(wallet, id, double_spent()));
    }
    for input in &unsigned.input {
        let parent = input.previous_output.txid;
        let confirmations = wallet.chain.confirmations(parent).await?;
        if confirmations.is_none_or(|confirmations| confirmations < DEEP) {
            tracing::info!(%parent, message, "the Ark server does not know a parent of the board's funding transaction yet; asking again");
            return Ok(Step::AwaitRound(NODE_LAG));
        }
    }
    Ok(abort(wallet, id, refused(message)))
}

fn refused(message: &str) -> Error {
    let message = format!("the Ark server refuses the board: {message}");
    Error::conflict("server_refused", message)
}

/// The signed VTXO and its signed funding transaction, or why the server did not sign.
async fn sign(
    wallet: &Wallet,
    funded: FundedBoard,
) -> Result<Result<(Vtxo<Full>, Transaction), ark::Error>> {
    let builder = BoardBuilder::new(
        funded.user_pubkey,
        funded.expiry_height,
        funded.server_pubkey,
        funded.exit_delta,
    )
    .set_funding_details(funded.amount, funded.fee, funded.utxo)
    .map_err(|error| Error::internal(anyhow::Error::new(error)))?
    .generate_user_nonces();
    let unsigned = &funded.psbt.unsigned_tx;
    let asked = wallet
        .server
        .cosign_board(&builder, funded.amount, funded.utxo, unsigned)
        .await;
    let response = match asked {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    if !builder.verify_cosign_response(&response) {
        return Err(Error::unavailable(
            "server_unavailable",
            "the Ark server's signature on the board is not valid",
        ));
    }
    let key = wallet.keys.vtxo_key(funded.user_key)?;
    let vtxo = builder
        .build_vtxo(&response, &key)
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
    let funding_tx = wallet.onchain.sign(funded.psbt)?;
    vtxo.validate(&funding_tx).map_err(|error| {
        Error::internal(anyhow::anyhow!("the signed board is not valid: {error}"))
    })?;
    if vtxo.id() != funded.vtxo {
        return Err(Error::internal(anyhow::anyhow!(
            "the signed board has another id than the planned one"
        )));
    }
    Ok(Ok((vtxo, funding_tx)))
}

/// Ends a board for which nothing was signed: the on-chain coins are released.
fn abort(wallet: &Wallet, id: &OperationId, reason: Error) -> Step<Board> {
    let (onchain, id) = (wallet.onchain.clone(), id.clone());
    Step::commit(CommitPoint::BoardAborted, Next::Failed(reason), move |tx| {
        onchain.release(tx, id.as_str())?;
        end::fail_movement(tx, &id, MovementStatus::Failed)
    })
}
