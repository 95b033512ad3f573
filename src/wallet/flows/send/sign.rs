//! The step that gets the payment signed.

use ark_lib::{Address, Vtxo, VtxoId};

use super::ArkoorSend;
use crate::model::OperationId;
use crate::store::vtxo_body;
use crate::wallet::engine::steps::arkoor::{self, CosignCall, Signed, Signing, SigningFlow};
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

const PAYMENT: SigningFlow = SigningFlow {
    what: "payment",
    call: CosignCall::Arkoor,
    registered: CommitPoint::SendInputsRegistered,
    doubted: CommitPoint::SendDoubted,
    aborted: CommitPoint::SendAborted,
};

/// Runs a step of the signing, and stores the new VTXOs once they are signed.
pub(super) async fn sign(
    wallet: &Wallet,
    id: &OperationId,
    destination: Address,
    signing: Signing,
    tries: Tries,
) -> Result<Step<ArkoorSend>> {
    let again = |signing| ArkoorSend::Sign {
        destination: destination.clone(),
        signing,
    };
    let (inputs, outputs) = match signing.step(wallet, id, tries, &PAYMENT, again).await? {
        Signed::Done { inputs, outputs } => (inputs, outputs),
        Signed::Not(step) => return Ok(step),
    };
    let change: Vec<VtxoId> = outputs.change.iter().map(Vtxo::id).collect();
    let next = ArkoorSend::Deliver {
        destination,
        outgoing: outputs.outgoing.iter().map(Vtxo::id).collect(),
        change,
    };
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::SendCosigned,
        Next::State(next),
        move |tx| {
            arkoor::complete(tx, &id, &inputs, &outputs.change)?;
            for payees in &outputs.outgoing {
                vtxo_body::put(tx, payees)?;
            }
            Ok(())
        },
    ))
}
