//! The step that hands the payment over.

use ark_lib::{Address, VtxoId};

use super::ArkoorSend;
use crate::model::OperationId;
use crate::store::{vtxo, vtxo_body};
use crate::wallet::engine::steps::{deliver, end, upload};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Uploads the new chains and posts the VTXOs to the payee. Both calls can be repeated, so they share a step and its commit.
pub(super) async fn deliver(
    wallet: &Wallet,
    id: &OperationId,
    destination: &Address,
    outgoing: Vec<VtxoId>,
    change: Vec<VtxoId>,
) -> Result<Step<ArkoorSend>> {
    let all: Vec<VtxoId> = outgoing.iter().chain(&change).copied().collect();
    let uploaded = upload::upload_outputs(wallet, &all).await?;
    deliver::post(wallet, destination, &outgoing).await?;
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::SendDelivered,
        Next::Done,
        move |tx| {
            if uploaded {
                vtxo::set_registered(tx, &change, true)?;
            }
            vtxo_body::delete_foreign(tx, &outgoing)?;
            end::succeed(tx, &id)
        },
    ))
}
