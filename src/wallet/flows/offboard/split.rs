//! The steps by which an on-chain payment gets VTXOs of exactly its amount and fee: an out-of-round spend to the wallet itself.

use ark_lib::offboard::OffboardRequest;
use ark_lib::{Vtxo, VtxoId};

use super::{Offboard, OffboardOrder};
use crate::model::{Fact, OperationId, VtxoState};
use crate::store::vtxo;
use crate::wallet::engine::steps::arkoor::{self, CosignCall, Signed, Signing, SigningFlow};
use crate::wallet::engine::steps::{end, upload};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

const ONCHAIN_PAYMENT: SigningFlow = SigningFlow {
    what: "offboard",
    call: CosignCall::Arkoor,
    registered: CommitPoint::OffboardInputsRegistered,
    doubted: CommitPoint::OffboardDoubted,
    aborted: CommitPoint::OffboardAborted,
};

/// Runs a step of the signing, and stores the new VTXOs once they are signed.
pub(super) async fn split(
    wallet: &Wallet,
    id: &OperationId,
    request: OffboardRequest,
    signing: Signing,
    tries: Tries,
) -> Result<Step<Offboard>> {
    let again = |signing| Offboard::Split {
        request: request.clone(),
        signing,
    };
    let signed = signing.step(wallet, id, tries, &ONCHAIN_PAYMENT, again);
    let (spent, outputs) = match signed.await? {
        Signed::Done { inputs, outputs } => (inputs, outputs),
        Signed::Not(step) => return Ok(step),
    };
    let mut exact: Vec<VtxoId> = outputs.outgoing.iter().map(Vtxo::id).collect();
    exact.sort_unstable();
    let change: Vec<VtxoId> = outputs.change.iter().map(Vtxo::id).collect();
    let next = Offboard::RegisterSplit {
        order: OffboardOrder {
            inputs: exact.clone(),
            request,
        },
        change,
    };
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::OffboardSplit,
        Next::State(next),
        move |tx| {
            arkoor::complete(tx, &id, &spent, &outputs.change)?;
            for piece in &outputs.outgoing {
                vtxo::insert(tx, piece, VtxoState::Locked(Some(id.clone())))?;
            }
            let names: Vec<String> = exact.iter().map(VtxoId::to_string).collect();
            end::note(tx, &id, [(Fact::OffboardVtxos, names.into())])
        },
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
