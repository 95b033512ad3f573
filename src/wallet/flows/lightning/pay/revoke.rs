//! The steps by which the HTLCs of a failed payment come back (H45, W6).

use std::time::Duration;

use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};

use super::settle::settle;
use super::standing::{Standing, standing};
use super::{Htlcs, LightningSend, Order, facts};
use crate::ark;
use crate::model::{MovementStatus, OperationId, VtxoState};
use crate::store::vtxo;
use crate::wallet::engine::steps::unsigned::Unsigned;
use crate::wallet::engine::steps::{end, upload};
use crate::wallet::engine::{Next, Step, Tries, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Failures in a row after which the operator learns that HTLCs do not come back.
pub(super) const FAILURES_BEFORE_STUCK: u32 = 3;

/// Blocks after the expiry of the HTLCs from which the operator learns of it.
const OVERDUE: u32 = 6;

/// How long the payment is followed again after the server refused to give the HTLCs back already.
const NOT_YET: Duration = Duration::from_secs(2);

/// What the server says while the payment can still succeed.
const TOO_EARLY: [&str; 2] = ["not eligible", "already committed"];

/// What stands before the preimage in the refusal to give back what was paid.
const PREIMAGE: &str = "preimage: ";

/// Turns to the HTLCs of a payment that failed.
pub(super) fn begin(htlcs: Htlcs, reason: String) -> Step<LightningSend> {
    tracing::warn!(reason, "Lightning payment failed; its coins come back");
    Step::commit(
        CommitPoint::LightningSendFailed,
        Next::State(LightningSend::Revoke { htlcs, reason }),
        |_| Ok(()),
    )
}

/// Whether the HTLCs have expired by the last known tip.
pub(super) async fn is_expired(wallet: &Wallet, order: &Order) -> bool {
    let tip = wallet.recent_tip().await;
    tip.is_ok_and(|tip| tip > order.expiry)
}

/// Requests the HTLCs back, unless the payment has succeeded after all.
pub(super) async fn revoke(
    wallet: &Wallet,
    id: &OperationId,
    htlcs: Htlcs,
    reason: String,
    tries: Tries,
) -> Result<Step<LightningSend>> {
    if let Standing::Paid(preimage) = standing(wallet, id, &htlcs.order).await? {
        return settle(id, &htlcs, preimage);
    }
    if tries.earlier {
        upload::upload_outputs(wallet, &htlcs.ids).await?;
    }
    let key = wallet
        .keys
        .vtxo_key(htlcs.order.revocation_key)?
        .public_key();
    let signers = wallet.signers(htlcs.ids.clone()).await?;
    let unsigned = Unsigned::claim_all(signers, VtxoPolicy::new_pubkey(key))?;
    let request = unsigned.request();
    let message = match wallet.server.revoke_lightning_send(request).await {
        Ok(response) => {
            let outputs = unsigned.finish(wallet, response).await?;
            return Ok(returned(id, htlcs.ids, outputs.outgoing, reason));
        }
        Err(ark::Error::Rejected { message, .. }) => message,
        Err(error) => {
            raise_if_stuck(wallet, id, tries, &error.to_string()).await?;
            return Err(error.into());
        }
    };
    if let Some(preimage) = preimage_in(&message, htlcs.order.hash()) {
        return settle(id, &htlcs, preimage);
    }
    if TOO_EARLY.iter().any(|text| message.contains(text)) {
        return not_yet(wallet, id, htlcs, &message).await;
    }
    raise_if_stuck(wallet, id, tries, &message).await?;
    Err(Error::conflict(
        "server_refused",
        format!("the Ark server does not give the coins of a failed payment back: {message}"),
    ))
}

/// The payment can still succeed: it is followed again.
async fn not_yet(
    wallet: &Wallet,
    id: &OperationId,
    htlcs: Htlcs,
    message: &str,
) -> Result<Step<LightningSend>> {
    let overdue = htlcs.order.expiry.to_u32().saturating_add(OVERDUE);
    let tip = wallet.recent_tip().await;
    if tip.is_ok_and(|tip| tip.to_u32() > overdue) {
        wallet.raise(facts::stuck(id, message)).await?;
    }
    tracing::info!(message, "the payment can still succeed; following it again");
    let again = LightningSend::Await {
        htlcs,
        lost: 0,
        since: clock::now_millis(),
    };
    Ok(Step::commit(
        CommitPoint::LightningSendResumed,
        Next::Later(again, NOT_YET),
        |_| Ok(()),
    ))
}

async fn raise_if_stuck(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
    message: &str,
) -> Result<()> {
    if tries.failed >= FAILURES_BEFORE_STUCK {
        wallet.raise(facts::stuck(id, message)).await?;
    }
    Ok(())
}

/// The preimage in a refusal, if it fits the hash.
fn preimage_in(message: &str, hash: PaymentHash) -> Option<Preimage> {
    let (_, after) = message.split_once(PREIMAGE)?;
    let preimage: Preimage = after.get(..64)?.parse().ok()?;
    (preimage.compute_payment_hash() == hash).then_some(preimage)
}

fn returned(
    id: &OperationId,
    htlcs: Vec<VtxoId>,
    outputs: Vec<Vtxo<Full>>,
    reason: String,
) -> Step<LightningSend> {
    let ids: Vec<VtxoId> = outputs.iter().map(Vtxo::id).collect();
    let next = LightningSend::Return {
        returned: ids.clone(),
        reason,
    };
    let id = id.clone();
    Step::commit(
        CommitPoint::LightningSendRevoked,
        Next::State(next),
        move |tx| {
            for htlc in &htlcs {
                vtxo::spend_held(tx, *htlc, &id)?;
            }
            for output in &outputs {
                vtxo::insert(tx, output, VtxoState::Spendable)?;
            }
            facts::clear(tx, &id)?;
            end::add_outputs(tx, &id, &ids)
        },
    )
}

/// Uploads the chains of what came back, and ends the payment. The VTXOs can be spent already.
pub(super) async fn register_returned(
    wallet: &Wallet,
    id: &OperationId,
    returned: Vec<VtxoId>,
    reason: String,
    tries: Tries,
) -> Result<Step<LightningSend>> {
    wallet.vtxos_arrived.notify_one();
    let uploaded = match upload::upload_outputs(wallet, &returned).await {
        Ok(uploaded) => uploaded,
        // Whoever spends them uploads their chains again, and so does the next comparison with the server's copy.
        Err(_) if tries.exhausted() => false,
        Err(error) => return Err(error),
    };
    let id = id.clone();
    let message = format!("the payment failed, and its coins are free again: {reason}");
    Ok(Step::commit(
        CommitPoint::LightningSendReturned,
        Next::Failed(Error::conflict("payment_failed", message)),
        move |tx| {
            if uploaded {
                vtxo::set_registered(tx, &returned, true)?;
            }
            end::fail_movement(tx, &id, MovementStatus::Failed)
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_preimage_that_fits_the_hash_is_read_from_a_refusal() {
        let preimage = Preimage::random();
        let hash = preimage.compute_payment_hash();
        let text =
            format!("error making payment: invoice has already been paid, preimage: {preimage}");
        assert_eq!(preimage_in(&text, hash), Some(preimage));
        let other = Preimage::random();
        for text in [
            format!("paid, preimage: {other}"),
            "paid, preimage: abc".into(),
            format!("paid, preimage: {}ä", &preimage.to_string()[..63]),
            format!("paid {preimage}"),
            String::new(),
        ] {
            assert_eq!(preimage_in(&text, hash), None, "{text}");
        }
    }
}
