//! The steps by which an on-chain payment gets VTXOs of exactly its amount and fee: an out-of-round spend to the wallet itself.

use ark_lib::{Vtxo, VtxoId};

use super::{Offboard, OffboardOrder, Payout, abort, refused};
use crate::model::{OperationId, VtxoState};
use crate::store::vtxo;
use crate::wallet::engine::steps::arkoor::{self, Cosigned, Failure, Registered, Resolved};
use crate::wallet::engine::steps::{end, upload};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Uploads the inputs' chains that the server may lack.
pub(super) async fn register_inputs(
    wallet: &Wallet,
    id: &OperationId,
    payout: Payout,
    tries: Tries,
) -> Result<Step<Offboard>> {
    let Payout { split, request } = payout;
    Ok(match arkoor::register_inputs(wallet, split, tries).await? {
        Registered::Ready(split, uploaded) => Step::commit(
            CommitPoint::OffboardInputsRegistered,
            Next::State(Offboard::Split(Payout { split, request })),
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
    payout: Payout,
    tries: Tries,
) -> Result<Step<Offboard>> {
    let Payout { split, request } = payout;
    let spent = split.inputs.clone();
    let outputs = match arkoor::cosign(wallet, split, tries).await? {
        Cosigned::Signed(outputs) => outputs,
        Cosigned::Refused(reason) => return Ok(abort(id, refused(&reason))),
        Cosigned::InDoubt {
            spend,
            refusal,
            pause,
        } => {
            let payout = Payout {
                split: spend,
                request,
            };
            return Ok(Step::commit(
                CommitPoint::OffboardDoubted,
                Next::Later(Offboard::Doubted { payout, refusal }, pause),
                |_| Ok(()),
            ));
        }
    };
    let mut exact: Vec<VtxoId> = outputs.outgoing.iter().map(Vtxo::id).collect();
    exact.sort_unstable();
    let change: Vec<VtxoId> = outputs.change.iter().map(Vtxo::id).collect();
    let next = Offboard::RegisterSplit {
        order: OffboardOrder {
            inputs: exact.clone(),
            request,
        },
        change: change.clone(),
    };
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::OffboardSplit,
        Next::State(next),
        move |tx| {
            for input in &spent {
                vtxo::spend(tx, *input)?;
            }
            for piece in &outputs.change {
                vtxo::insert(tx, piece, VtxoState::Spendable)?;
            }
            for piece in &outputs.outgoing {
                vtxo::insert(tx, piece, VtxoState::Locked(Some(id.clone())))?;
            }
            end::add_outputs(tx, &id, &change)?;
            let names: Vec<String> = exact.iter().map(VtxoId::to_string).collect();
            end::note(tx, &id, [("offboard_vtxos", names.into())])
        },
    ))
}

/// Goes on from a refusal by the state of the inputs at the server.
pub(super) async fn resolve_doubt(
    wallet: &Wallet,
    id: &OperationId,
    payout: Payout,
    refusal: String,
) -> Result<Step<Offboard>> {
    let Payout { split, request } = payout;
    let next = match arkoor::resolve_doubt(wallet, id, split, refusal).await? {
        Resolved::Abort(reason) => return Ok(abort(id, refused(&reason))),
        Resolved::Register(split) => Offboard::RegisterInputs(Payout { split, request }),
        Resolved::Cosign(split) => Offboard::Split(Payout { split, request }),
    };
    Ok(Step::commit(
        CommitPoint::OffboardDoubted,
        Next::State(next),
        |_| Ok(()),
    ))
}

/// Uploads the chains of what the split made: the server offboards no VTXO whose chain it lacks.
pub(super) async fn register_outputs(
    wallet: &Wallet,
    order: OffboardOrder,
    change: Vec<VtxoId>,
) -> Result<Step<Offboard>> {
    let all: Vec<VtxoId> = order.inputs.iter().chain(&change).copied().collect();
    upload::upload_all(wallet, &all).await?;
    Ok(Step::commit(
        CommitPoint::OffboardReady,
        Next::State(Offboard::Prepare {
            order,
            prior: Vec::new(),
        }),
        move |tx| Ok(vtxo::set_registered(tx, &all, true)?),
    ))
}
