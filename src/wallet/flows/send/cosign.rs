//! The steps up to the signed payment.

use ark_lib::{Vtxo, VtxoId};

use super::{ArkoorSend, Payment, SignedPayment};
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::{vtxo, vtxo_body};
use crate::wallet::engine::steps::arkoor::{self, Cosigned, Failure, Registered, Resolved};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Uploads the inputs' chains that the server may lack.
pub(super) async fn register_inputs(
    wallet: &Wallet,
    id: &OperationId,
    payment: Payment,
    tries: Tries,
) -> Result<Step<ArkoorSend>> {
    let Payment { destination, spend } = payment;
    Ok(match arkoor::register_inputs(wallet, spend, tries).await? {
        Registered::Ready(spend, uploaded) => Step::commit(
            CommitPoint::SendInputsRegistered,
            Next::State(ArkoorSend::Cosign(Payment { destination, spend })),
            move |tx| Ok(vtxo::set_registered(tx, &uploaded, true)?),
        ),
        Registered::Abort(Failure::Refused(reason)) => abort(id, refused(&reason)),
        Registered::Abort(Failure::Unavailable(error)) => abort(id, error),
    })
}

/// Requests the server's signatures, and stores what they make.
pub(super) async fn cosign(
    wallet: &Wallet,
    id: &OperationId,
    payment: Payment,
    tries: Tries,
) -> Result<Step<ArkoorSend>> {
    let Payment { destination, spend } = payment;
    let inputs = spend.inputs.clone();
    let outputs = match arkoor::cosign(wallet, spend, tries).await? {
        Cosigned::Signed(outputs) => outputs,
        Cosigned::Refused(reason) => return Ok(abort(id, refused(&reason))),
        Cosigned::InDoubt {
            spend,
            refusal,
            pause,
        } => {
            let payment = Payment { destination, spend };
            return Ok(Step::commit(
                CommitPoint::SendDoubted,
                Next::Later(ArkoorSend::Doubted { payment, refusal }, pause),
                |_| Ok(()),
            ));
        }
    };
    let change: Vec<VtxoId> = outputs.change.iter().map(Vtxo::id).collect();
    let next = ArkoorSend::Deliver(SignedPayment {
        destination,
        outgoing: outputs.outgoing.iter().map(Vtxo::id).collect(),
        change: change.clone(),
    });
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::SendCosigned,
        Next::State(next),
        move |tx| {
            for input in &inputs {
                vtxo::spend(tx, *input)?;
            }
            for piece in &outputs.change {
                vtxo::insert(tx, piece, VtxoState::Spendable)?;
            }
            for payees in &outputs.outgoing {
                vtxo_body::put(tx, payees)?;
            }
            end::add_outputs(tx, &id, &change)
        },
    ))
}

/// Goes on from a refusal by the state of the inputs at the server.
pub(super) async fn resolve_doubt(
    wallet: &Wallet,
    id: &OperationId,
    payment: Payment,
    refusal: String,
) -> Result<Step<ArkoorSend>> {
    let Payment { destination, spend } = payment;
    let next = match arkoor::resolve_doubt(wallet, id, spend, refusal).await? {
        Resolved::Abort(reason) => return Ok(abort(id, refused(&reason))),
        Resolved::Register(spend) => ArkoorSend::RegisterInputs(Payment { destination, spend }),
        Resolved::Cosign(spend) => ArkoorSend::Cosign(Payment { destination, spend }),
    };
    Ok(Step::commit(
        CommitPoint::SendDoubted,
        Next::State(next),
        |_| Ok(()),
    ))
}

fn refused(reason: &str) -> Error {
    Error::conflict(
        "server_refused",
        format!("the Ark server refuses the payment, nothing was paid: {reason}"),
    )
}

fn abort(id: &OperationId, reason: Error) -> Step<ArkoorSend> {
    end::abort(CommitPoint::SendAborted, id, MovementStatus::Failed, reason)
}
