//! The step that makes a board safe: the server signs the exit before anything is broadcast.

use ark_lib::Vtxo;
use ark_lib::board::BoardBuilder;
use ark_lib::vtxo::Full;
use bitcoin::Transaction;

use super::{Board, FundedBoard, SignedBoard};
use crate::ark;
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::{anchor, vtxo};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Requests the server's half of the exit's signature, and stores the VTXO with the signed funding transaction.
pub(super) async fn cosign(
    wallet: &Wallet,
    id: &OperationId,
    funded: FundedBoard,
    tries: Tries,
) -> Result<Step<Board>> {
    let signed = match sign(wallet, funded).await {
        Ok(Ok(signed)) => Ok(signed),
        Ok(Err(ark::Error::Rejected { message, .. })) => {
            let reason = Error::conflict(
                "server_refused",
                format!("the Ark server refuses the board: {message}"),
            );
            return Ok(abort(wallet, id, reason));
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
