//! The steps up to the offboard transaction that the server proposes.

use ark_lib::VtxoId;
use ark_lib::attestations::OffboardRequestAttestation;
use ark_lib::offboard::{OffboardForfeitContext, OffboardForfeitError};

use super::finish::{accept_signed, find};
use super::{
    FINAL_DEPTH, IN_DOUBT, Offboard, OffboardOrder, PreparedOrder, PriorTx, abort, refused,
};
use crate::ark::{self, PreparedOffboard};
use crate::model::{Attention, Fact, OperationId, VtxoState};
use crate::store::vtxo;
use crate::wallet::engine::encoding::Encoded;
use crate::wallet::engine::steps::upload::{Upload, upload_inputs};
use crate::wallet::engine::steps::{end, refusal};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Uploads the chains of VTXOs that are offboarded as a whole.
pub(super) async fn register_whole(
    wallet: &Wallet,
    id: &OperationId,
    order: OffboardOrder,
    tries: Tries,
) -> Result<Step<Offboard>> {
    match upload_inputs(wallet, &order.inputs, tries).await? {
        Upload::Done(uploaded) => Ok(Step::commit(
            CommitPoint::OffboardReady,
            Next::State(Offboard::Prepare {
                order,
                prior: Vec::new(),
            }),
            move |tx| Ok(vtxo::set_registered(tx, &uploaded, true)?),
        )),
        Upload::Refused { message, vtxos } => {
            Ok(refuse(wallet, id, &order, &message, &vtxos).await)
        }
        Upload::GivenUp(error) => Ok(abort(id, error)),
    }
}

/// Requests the transaction. The request gives nothing up. After an earlier session, for which the server has forfeits, no refusal
/// proves anything (H61).
pub(super) async fn prepare(
    wallet: &Wallet,
    id: &OperationId,
    order: OffboardOrder,
    prior: Vec<PriorTx>,
    tries: Tries,
) -> Result<Step<Offboard>> {
    if let Some(found) = find(wallet, &prior).await? {
        return Ok(accept_signed(id, order, found));
    }
    let inputs = wallet.signers(order.inputs.clone()).await?;
    let attestations: Vec<_> = inputs
        .iter()
        .map(|(_, key)| OffboardRequestAttestation::new(&order.request, &order.inputs, key))
        .collect();
    let prepared = wallet
        .server
        .prepare_offboard(&order.request, &order.inputs, &attestations)
        .await;
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(ark::Error::Rejected { message, vtxos }) => {
            return end_or_search(wallet, id, &order, &prior, &message, &vtxos).await;
        }
        Err(error) if prior.is_empty() && tries.exhausted() => {
            return Ok(abort(id, error.into()));
        }
        Err(error) => return Err(error.into()),
    };
    // Checked before it is stored: the next step signs what is stored (H30).
    if let Err(reason) = check(&order, &prepared) {
        tracing::error!(%reason, "server proposes an offboard transaction that was not ordered; not signing it");
        let reason = format!("its transaction is not what was ordered: {reason}");
        return end_or_search(wallet, id, &order, &prior, &reason, &[]).await;
    }
    let next = PreparedOrder {
        nonces: prepared.nonces.into_iter().map(Encoded).collect(),
        transaction: prepared.transaction,
        order,
        prior,
    };
    let (id, txid) = (id.clone(), next.transaction.compute_txid());
    Ok(Step::commit(
        CommitPoint::OffboardPrepared,
        Next::State(Offboard::Finish(next)),
        move |tx| end::note(tx, &id, [(Fact::OffboardTxid, txid.to_string().into())]),
    ))
}

/// Goes on from a refusal: ends the offboard if the server has no forfeits, or if none of the transactions that they belong to can
/// confirm any more.
///
/// # Errors
/// `offboard_in_doubt`: one of them may still confirm. The inputs stay locked, and the chain is searched again.
async fn end_or_search(
    wallet: &Wallet,
    id: &OperationId,
    order: &OffboardOrder,
    prior: &[PriorTx],
    reason: &str,
    named: &[VtxoId],
) -> Result<Step<Offboard>> {
    if prior.is_empty() {
        return Ok(refuse(wallet, id, order, reason, named).await);
    }
    if is_spent_otherwise(wallet, order.inputs.clone()).await? {
        let reason = "a refresh of these coins has just happened; offboard again";
        return Ok(abort(id, refused(reason)));
    }
    for prior in prior {
        let PriorTx::Full(transaction) = prior else {
            return Err(in_doubt(wallet, id, &order.inputs, reason).await);
        };
        if wallet.chain.conflict_depth(transaction).await? < FINAL_DEPTH {
            return Err(in_doubt(wallet, id, &order.inputs, reason).await);
        }
    }
    Ok(abort(id, refused(reason)))
}

/// Ends an offboard that the server refuses. The inputs that cannot be spent are set aside (H51).
async fn refuse(
    wallet: &Wallet,
    id: &OperationId,
    order: &OffboardOrder,
    message: &str,
    named: &[VtxoId],
) -> Step<Offboard> {
    let unusable = refusal::unusable(wallet, &order.inputs, message, named).await;
    refusal::abort(CommitPoint::OffboardAborted, id, refused(message), unusable)
}

fn check(order: &OffboardOrder, prepared: &PreparedOffboard) -> Result<(), String> {
    let nonces = prepared.nonces.len();
    OffboardForfeitError::check_count("forfeit nonces", order.inputs.len(), nonces)
        .map_err(|error| error.to_string())?;
    OffboardForfeitContext::new(&order.inputs, &prepared.transaction)
        .map_err(|error| error.to_string())?
        .validate_offboard_tx(&order.request)
        .map_err(|error| error.to_string())?;
    let inputs = &prepared.transaction.input;
    let distinct: std::collections::HashSet<_> =
        inputs.iter().map(|input| input.previous_output).collect();
    if inputs.is_empty() || distinct.len() < inputs.len() {
        return Err("it has no inputs, or one twice".into());
    }
    // The forfeits spend an output of it, so the signatures must not change its id.
    if inputs.iter().any(|input| !input.script_sig.is_empty()) {
        return Err("it is not a segwit transaction".into());
    }
    Ok(())
}

/// Shows that an offboard is in doubt: the server has the forfeits, denies the session, and its transaction cannot be found. The
/// server may still broadcast it, so the inputs stay locked.
async fn in_doubt(wallet: &Wallet, id: &OperationId, inputs: &[VtxoId], reason: &str) -> Error {
    let message = format!(
        "the Ark server has lost the offboard's session, and its transaction is not on the chain; the coins stay locked while it is searched for: {reason}"
    );
    let raised = wallet.raise(Attention {
        code: IN_DOUBT.into(),
        subject: id.to_string(),
        message: format!("{message}."),
        what_to_do: format!(
            "Do not pay again: the transaction may still come out. Ask the operator of the server for it. If that does not help, exit the \
             VTXOs with POST /api/v1/exits/start/vtxos: {}; the wallet does so before they expire. The chain then decides: either the \
             transaction comes out, or the coins come home.",
            inputs.iter().map(VtxoId::to_string).collect::<Vec<_>>().join(", ")
        ),
    });
    match raised.await {
        Ok(()) => Error::unavailable(IN_DOUBT, message),
        Err(error) => error,
    }
}

/// Whether an input was forfeited in a round, which is no loss: the new VTXO is there. The server cannot use the forfeit of the
/// offboard as well.
async fn is_spent_otherwise(wallet: &Wallet, inputs: Vec<VtxoId>) -> Result<bool> {
    wallet
        .store
        .read(move |connection| {
            for input in inputs {
                let record = vtxo::get(connection, input)?;
                if record.is_some_and(|record| record.state == VtxoState::Spent) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
}
