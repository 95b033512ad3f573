//! The steps of a payment.

use std::time::Duration;

use ark_lib::VtxoId;
use ark_lib::address::VtxoDelivery;
use bitcoin::SignedAmount;

use crate::ark;
use crate::model::MovementStatus;
use crate::model::VtxoState;
use crate::model::{OperationId, OperationKind};
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Flow, Next, Step, Tries, back_off};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

use super::doubt::{self, Holding, TAKEN_BY_ROUND};
use super::{ArkoorSend, EncodedVtxo, Payment, Signed};

/// Failures after which a payment that the server cannot know of yet is called off.
const MAX_FAILURES_BEFORE_COSIGN: u32 = 3;

impl Flow for ArkoorSend {
    const KIND: OperationKind = OperationKind::ArkoorSend;

    async fn step(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
    ) -> Result<Step<ArkoorSend>> {
        match self {
            ArkoorSend::RegisterInputs(payment) => {
                register_inputs(wallet, id, payment, tries).await
            }
            ArkoorSend::Cosign(payment) => cosign(wallet, id, payment, tries).await,
            ArkoorSend::Doubted { payment, refusal } => {
                settle_doubt(wallet, id, payment, refusal).await
            }
            ArkoorSend::Deliver(signed) => deliver(wallet, id, signed).await,
        }
    }

    fn answers_caller(&self) -> bool {
        false
    }
}

async fn register_inputs(
    wallet: &Wallet,
    id: &OperationId,
    mut payment: Payment,
    tries: Tries,
) -> Result<Step<ArkoorSend>> {
    let wanted = payment.inputs.clone();
    let all = payment.uploaded;
    // What the server has already need not go over the wire again, unless it has just said that it lacks it.
    let missing = wallet
        .store
        .read(move |connection| {
            let lacks = |id: &VtxoId| {
                Ok::<_, Error>(
                    all || vtxo::get(connection, *id)?.is_none_or(|record| !record.registered),
                )
            };
            let ids = wanted
                .into_iter()
                .filter_map(|id| lacks(&id).map(|lacks| lacks.then_some(id)).transpose());
            ids.map(|id| Ok(vtxo::full(connection, id?)?))
                .collect::<Result<Vec<_>>>()
        })
        .await?;
    if !missing.is_empty() {
        match wallet.server.register_chains(&missing).await {
            Ok(()) => payment.uploaded = true,
            Err(ark::Error::Rejected { message, .. }) => {
                return Ok(abort(
                    id,
                    Error::conflict(
                        "server_refused",
                        format!("the Ark server refuses the coins: {message}"),
                    ),
                ));
            }
            Err(error) if tries.failed >= MAX_FAILURES_BEFORE_COSIGN && payment.doubts == 0 => {
                return Ok(abort(id, error.into()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let uploaded: Vec<VtxoId> = missing.iter().map(ark_lib::Vtxo::id).collect();
    Ok(Step::commit(
        CommitPoint::SendInputsRegistered,
        Next::State(ArkoorSend::Cosign(payment)),
        move |tx| Ok(vtxo::set_registered(tx, &uploaded, true)?),
    ))
}

async fn cosign(
    wallet: &Wallet,
    id: &OperationId,
    mut payment: Payment,
    tries: Tries,
) -> Result<Step<ArkoorSend>> {
    let unsigned = wallet.build_payment(&payment).await?;
    let response = match wallet
        .server
        .cosign_arkoor(unsigned.package.cosign_request())
        .await
    {
        Ok(response) => response,
        Err(ark::Error::Rejected { message, .. }) => {
            // At the very first try, with the chains uploaded just before, a refusal proves that nothing happened.
            if !tries.earlier && payment.doubts == 0 && payment.uploaded {
                return Ok(abort(id, refused(&message)));
            }
            // An earlier try may still be on its way through the server; give it time before asking what became of it.
            let pause = if tries.earlier || payment.doubts > 0 {
                back_off(payment.doubts + 1)
            } else {
                Duration::ZERO
            };
            payment.doubts = payment.doubts.saturating_add(1);
            let doubted = ArkoorSend::Doubted {
                payment,
                refusal: message,
            };
            return Ok(Step::commit(
                CommitPoint::SendDoubted,
                Next::Later(doubted, pause),
                |_| Ok(()),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let outputs = unsigned.finish(response)?;
    for output in outputs.outgoing.iter().chain(&outputs.change) {
        wallet.check_own_output(output).await?;
    }
    let change: Vec<VtxoId> = outputs.change.iter().map(ark_lib::Vtxo::id).collect();
    let next = ArkoorSend::Deliver(Signed {
        destination: payment.destination,
        outgoing: outputs.outgoing.into_iter().map(EncodedVtxo).collect(),
        change: change.clone(),
    });
    let (id, inputs, stored) = (id.clone(), payment.inputs, outputs.change);
    Ok(Step::commit(
        CommitPoint::SendCosigned,
        Next::State(next),
        move |tx| {
            inputs
                .iter()
                .try_for_each(|input| vtxo::spend(tx, *input))?;
            for piece in &stored {
                vtxo::insert(tx, piece, VtxoState::Spendable)?;
            }
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                movement::add_outputs(tx, movement, &change, clock::now_millis())?;
            }
            Ok(())
        },
    ))
}

/// Goes by what the server holds of the inputs.
async fn settle_doubt(
    wallet: &Wallet,
    id: &OperationId,
    mut payment: Payment,
    refusal: String,
) -> Result<Step<ArkoorSend>> {
    let next = match doubt::holding(wallet, id, &payment, &refusal).await? {
        Holding::Unspent if payment.uploaded => return Ok(abort(id, refused(&refusal))),
        // It may lack the signed chains that it had once: give it all of them again, and ask again.
        Holding::Unspent | Holding::Unregistered => {
            payment.uploaded = true;
            ArkoorSend::RegisterInputs(payment)
        }
        Holding::TakenByRound => return Ok(abort(id, refused(TAKEN_BY_ROUND))),
        Holding::Spent => ArkoorSend::Cosign(payment),
    };
    Ok(Step::commit(
        CommitPoint::SendDoubted,
        Next::State(next),
        |_| Ok(()),
    ))
}

/// Uploads the new chains and posts to the payee. Both calls can be repeated at will, so they share a step and its flush.
async fn deliver(wallet: &Wallet, id: &OperationId, signed: Signed) -> Result<Step<ArkoorSend>> {
    let registered = register_outputs(wallet, &signed).await?;
    post(wallet, &signed).await?;
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::SendDelivered,
        Next::Done,
        move |tx| {
            vtxo::set_registered(tx, &registered, true)?;
            if let Some(movement) = movement::id_of_operation(tx, &id)? {
                movement::finish(
                    tx,
                    movement,
                    MovementStatus::Successful,
                    None,
                    clock::now_millis(),
                )?;
            }
            Ok(())
        },
    ))
}

/// Uploads the new chains, and answers which of the wallet's own VTXOs the server has now.
async fn register_outputs(wallet: &Wallet, signed: &Signed) -> Result<Vec<VtxoId>> {
    let change = wallet.full_vtxos(signed.change.clone()).await?;
    let outgoing = signed.outgoing.iter().map(|vtxo| vtxo.0.clone());
    let all: Vec<_> = outgoing.chain(change).collect();
    match wallet.server.register_chains(&all).await {
        Ok(()) => Ok(signed.change.clone()),
        // The payee can do it as well, or exit; the payment is made.
        Err(error @ ark::Error::Rejected { .. }) => {
            tracing::warn!(%error, "the server refuses the new signed chains; the payment goes on");
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// Posts to the payee's mailboxes; one that takes it is enough.
async fn post(wallet: &Wallet, signed: &Signed) -> Result<()> {
    let outgoing: Vec<_> = signed.outgoing.iter().map(|vtxo| vtxo.0.clone()).collect();
    let mut failure = None;
    for way in signed.destination.delivery() {
        let VtxoDelivery::ServerMailbox { blinded_id } = way else {
            continue;
        };
        match wallet.server.post_arkoor(blinded_id, &outgoing).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn refused(refusal: &str) -> Error {
    Error::conflict(
        "server_refused",
        format!("the Ark server refuses the payment, nothing was paid: {refusal}"),
    )
}

/// The payment did not happen, and that is certain: the inputs are free again.
fn abort(id: &OperationId, reason: Error) -> Step<ArkoorSend> {
    let id = id.clone();
    Step::commit(CommitPoint::SendAborted, Next::Failed(reason), move |tx| {
        vtxo::release(tx, &id)?;
        if let Some(movement) = movement::id_of_operation(tx, &id)? {
            let nothing = Some(SignedAmount::ZERO);
            movement::finish(
                tx,
                movement,
                MovementStatus::Failed,
                nothing,
                clock::now_millis(),
            )?;
        }
        Ok(())
    })
}
