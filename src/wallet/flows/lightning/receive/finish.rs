//! The last steps: the claimed VTXOs become spendable, or go to their payee.

use ark_lib::VtxoId;
use ark_lib::lightning::PaymentHash;

use super::LightningReceive;
use super::claim::payee;
use crate::model::{Fact, Invoice, InvoiceOutcome, OperationId};
use crate::store::{WriteTx, lightning_receive, vtxo, vtxo_body};
use crate::wallet::engine::steps::{deliver, end, upload};
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Uploads the chains of the wallet's new VTXOs at once: whoever publishes a grant takes it from an owner whose claim the server has
/// not signed completely.
pub(super) async fn register(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
    outputs: Vec<VtxoId>,
) -> Result<Step<LightningReceive>> {
    let uploaded = upload::upload_outputs(wallet, &outputs).await?;
    let invoice = wallet.invoice(hash).await?;
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::LightningReceiveRegistered,
        Next::Done,
        move |tx| {
            if uploaded {
                vtxo::set_registered(tx, &outputs, true)?;
            }
            vtxo::release(tx, &id)?;
            settle(tx, &id, &invoice)?;
            end::succeed(tx, &id)
        },
    ))
}

/// Uploads the chains of the payee's VTXOs, and posts them. Nobody else can find them, so this is tried until it succeeds (H37).
pub(super) async fn deliver(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
    outputs: Vec<VtxoId>,
) -> Result<Step<LightningReceive>> {
    let invoice = wallet.invoice(hash).await?;
    let no_payee = || Error::internal(anyhow::anyhow!("invoice {hash} has no payee"));
    let payee = payee(&invoice)?.ok_or_else(no_payee)?;
    upload::upload_outputs(wallet, &outputs).await?;
    deliver::post(wallet, &payee, &outputs).await?;
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::LightningReceiveDelivered,
        Next::Done,
        move |tx| {
            vtxo_body::delete_foreign(tx, &outputs)?;
            settle(tx, &id, &invoice)?;
            end::pass_on(tx, &id)
        },
    ))
}

pub(super) fn settle(tx: &WriteTx<'_>, id: &OperationId, invoice: &Invoice) -> Result<()> {
    let preimage = invoice.preimage.to_string();
    end::note(tx, id, [(Fact::PaymentPreimage, preimage.into())])?;
    let now = clock::now_millis();
    Ok(lightning_receive::end(
        tx,
        invoice.hash,
        InvoiceOutcome::Settled,
        None,
        now,
    )?)
}
