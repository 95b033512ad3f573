//! The steps that let the server pay.

use ark_lib::VtxoId;

use super::settle::settle;
use super::standing::{Standing, known_preimage, standing};
use super::{Htlcs, LightningSend, revoke};
use crate::ark::{self, PaymentOrder};
use crate::model::OperationId;
use crate::store::vtxo;
use crate::wallet::engine::steps::upload;
use crate::wallet::engine::{Next, Step, Tries, clock};
use crate::wallet::{CommitPoint, ErrorKind, Result, Wallet};

/// Uploads the chains of the new VTXOs. The server pays with no HTLC whose chain it lacks, and gives none back.
pub(super) async fn register(
    wallet: &Wallet,
    htlcs: Htlcs,
    change: Vec<VtxoId>,
    tries: Tries,
) -> Result<Step<LightningSend>> {
    let all: Vec<VtxoId> = htlcs.ids.iter().chain(&change).copied().collect();
    match upload::upload_all(wallet, &all).await {
        Err(error) if error.kind() == ErrorKind::Conflict && tries.exhausted() => {
            return Ok(revoke::begin(htlcs, error.message().to_owned()));
        }
        uploaded => uploaded?,
    }
    Ok(Step::commit(
        CommitPoint::LightningSendRegistered,
        Next::State(LightningSend::Initiate { htlcs, lost: 0 }),
        move |tx| Ok(vtxo::set_registered(tx, &all, true)?),
    ))
}

/// Lets the server pay. The call is not idempotent: after a failed attempt it would begin another one. So it is repeated only while the
/// server knows of no attempt.
pub(super) async fn initiate(
    wallet: &Wallet,
    id: &OperationId,
    htlcs: Htlcs,
    lost: u32,
    tries: Tries,
) -> Result<Step<LightningSend>> {
    let known = if tries.earlier {
        standing(wallet, id, &htlcs.order).await?
    } else {
        known_preimage(wallet, &htlcs.order)
            .await?
            .map_or(Standing::Unknown, Standing::Paid)
    };
    match known {
        Standing::Unknown => {}
        Standing::Pending => return Ok(initiated(htlcs, lost)),
        Standing::Paid(preimage) => return settle(id, &htlcs, preimage),
        Standing::Failed(reason) => return Ok(revoke::begin(htlcs, reason)),
    }
    let answer = wallet
        .server
        .initiate_lightning_payment(PaymentOrder {
            invoice: &htlcs.order.invoice,
            htlcs: &htlcs.ids,
            amount: htlcs.order.amount,
            mailbox: wallet.keys.mailbox_id(),
            retry_for: htlcs.order.retry_for,
        })
        .await;
    match answer {
        Ok(()) => Ok(initiated(htlcs, lost)),
        Err(ark::Error::Rejected { message, .. }) => {
            let reason = format!("the Ark server refuses it: {message}");
            Ok(revoke::begin(htlcs, reason))
        }
        Err(error) => Err(error.into()),
    }
}

fn initiated(htlcs: Htlcs, lost: u32) -> Step<LightningSend> {
    let since = clock::now_millis();
    Step::commit(
        CommitPoint::LightningSendInitiated,
        Next::State(LightningSend::Await { htlcs, lost, since }),
        |_| Ok(()),
    )
}
