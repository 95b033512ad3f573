//! The steps of a board.

use ark_lib::board::BoardBuilder;
use bitcoin::SignedAmount;

use crate::ark;
use crate::chain::{BroadcastError, TxStatus};
use crate::model::MovementStatus;
use crate::model::VtxoState;
use crate::model::{OperationId, OperationKind};
use crate::store::movement;
use crate::store::vtxo;
use crate::store::{WriteTx, anchor};
use crate::wallet::engine::clock;
use crate::wallet::engine::{Flow, Next, Step, Tries, VANISHED_PAUSE};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

use super::{Board, Funded, Signed};

/// Failures after which a board that is not signed yet is called off.
const MAX_FAILURES_BEFORE_COSIGN: u32 = 3;

impl Flow for Board {
    const KIND: OperationKind = OperationKind::Board;

    async fn step(self, wallet: &Wallet, id: &OperationId, tries: Tries) -> Result<Step<Board>> {
        match self {
            Board::Cosign(funded) => cosign(wallet, id, *funded, tries).await,
            Board::Broadcast(signed) => broadcast(wallet, id, signed).await,
            Board::Confirm(signed) => confirm(wallet, id, signed).await,
        }
    }

    /// From the signature on the board is safe, and a caller who tried again would fund a second one (H5).
    fn answers_caller(&self) -> bool {
        matches!(self, Board::Confirm(_))
    }
}

async fn cosign(
    wallet: &Wallet,
    id: &OperationId,
    funded: Funded,
    tries: Tries,
) -> Result<Step<Board>> {
    let builder = BoardBuilder::new(
        funded.user_pubkey,
        funded.expiry_height,
        funded.server_pubkey,
        funded.exit_delta,
    )
    .set_funding_details(funded.amount, funded.fee, funded.utxo)
    .map_err(|error| Error::internal(anyhow::Error::new(error)))?
    .generate_user_nonces();
    let asked = wallet
        .server
        .cosign_board(
            &builder,
            funded.amount,
            funded.utxo,
            &funded.psbt.unsigned_tx,
        )
        .await;
    let response = match asked {
        Ok(response) if builder.verify_cosign_response(&response) => response,
        Ok(_) => {
            return Err(Error::unavailable(
                "server_unavailable",
                "the Ark server's signature on the board is not valid",
            ));
        }
        Err(ark::Error::Rejected { message, .. }) => {
            return Ok(abort(
                wallet,
                id,
                Error::conflict(
                    "server_refused",
                    format!("the Ark server refuses the board: {message}"),
                ),
            ));
        }
        // The server keeps nothing of a cosigned board, so one that was never signed here can be dropped at any time.
        Err(error) if tries.failed >= MAX_FAILURES_BEFORE_COSIGN => {
            return Ok(abort(wallet, id, error.into()));
        }
        Err(error) => return Err(error.into()),
    };
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
    let holder = id.clone();
    let signed = Signed {
        funding_tx: funding_tx.clone(),
        vtxo: vtxo.id(),
        net: vtxo.amount(),
    };
    Ok(Step::commit(
        CommitPoint::BoardCosigned,
        Next::State(Board::Broadcast(signed)),
        move |tx| {
            anchor::insert(tx, &funding_tx)?;
            vtxo::insert(tx, &vtxo, VtxoState::Locked(Some(holder)))?;
            Ok(())
        },
    ))
}

async fn broadcast(wallet: &Wallet, id: &OperationId, signed: Signed) -> Result<Step<Board>> {
    match wallet
        .chain
        .broadcast_package(std::slice::from_ref(&signed.funding_tx))
        .await
    {
        Ok(()) => {}
        Err(BroadcastError::MissingOrSpent) => match wallet
            .chain
            .status(signed.funding_tx.compute_txid())
            .await?
        {
            TxStatus::NotFound if wallet.chain.is_double_spent(&signed.funding_tx).await? => {
                return Ok(write_off(wallet, id, signed));
            }
            TxStatus::NotFound => {
                return Err(Error::unavailable(
                    "chain_unavailable",
                    "a coin that funds the board cannot be found now",
                ));
            }
            TxStatus::Mempool | TxStatus::Confirmed { .. } => {}
        },
        Err(error) => {
            return Err(Error::unavailable(
                "chain_unavailable",
                format!("the board's funding transaction does not get out: {error}"),
            ));
        }
    }
    let (onchain, id, transaction) = (
        wallet.onchain.clone(),
        id.clone(),
        signed.funding_tx.clone(),
    );
    Ok(Step::commit(
        CommitPoint::BoardBroadcast,
        Next::State(Board::Confirm(signed)),
        move |tx| Ok(onchain.record(tx, &transaction, Some(id.as_str()))?),
    ))
}

async fn confirm(wallet: &Wallet, id: &OperationId, signed: Signed) -> Result<Step<Board>> {
    wallet.onchain.catch_up().await?;
    let txid = signed.funding_tx.compute_txid();
    match wallet.chain.confirmations(txid).await? {
        None => {
            tracing::warn!("the board's funding transaction has vanished; it is broadcast again");
            return Ok(Step::commit(
                CommitPoint::BoardBroadcast,
                Next::Later(Board::Broadcast(signed), VANISHED_PAUSE),
                |_| Ok(()),
            ));
        }
        Some(0) => return Ok(Step::AwaitBlock),
        Some(depth) => {
            if (depth as usize) < wallet.connected_info()?.required_board_confirmations {
                return Ok(Step::AwaitBlock);
            }
        }
    }
    let vtxo_id = signed.vtxo;
    let vtxo = wallet
        .store
        .read(move |connection| vtxo::full(connection, vtxo_id))
        .await?;
    wallet.server.register_board(&vtxo).await?;
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::BoardRegistered,
        Next::Done,
        move |tx| {
            vtxo::release(tx, &id)?;
            finish_movement(tx, &id, MovementStatus::Successful, None)
        },
    ))
}

/// Nothing was signed, so nothing can be lost: the coins are free again.
fn abort(wallet: &Wallet, id: &OperationId, reason: Error) -> Step<Board> {
    let (onchain, id) = (wallet.onchain.clone(), id.clone());
    Step::commit(CommitPoint::BoardAborted, Next::Failed(reason), move |tx| {
        onchain.release(tx, id.as_str())?;
        finish_movement(tx, &id, MovementStatus::Failed, Some(SignedAmount::ZERO))
    })
}

/// The funding transaction can never confirm: the VTXO is worth nothing.
fn write_off(wallet: &Wallet, id: &OperationId, signed: Signed) -> Step<Board> {
    let (onchain, id) = (wallet.onchain.clone(), id.clone());
    let reason = Error::conflict(
        "board_double_spent",
        "the coins of this board were spent by another transaction",
    );
    Step::commit(CommitPoint::BoardAborted, Next::Failed(reason), move |tx| {
        onchain.release(tx, id.as_str())?;
        vtxo::spend(tx, signed.vtxo)?;
        finish_movement(tx, &id, MovementStatus::Failed, Some(SignedAmount::ZERO))
    })
}

fn finish_movement(
    tx: &WriteTx<'_>,
    id: &OperationId,
    status: MovementStatus,
    effective: Option<SignedAmount>,
) -> Result<()> {
    if let Some(movement) = movement::id_of_operation(tx, id)? {
        movement::finish(tx, movement, status, effective, clock::now_millis())?;
    }
    Ok(())
}
