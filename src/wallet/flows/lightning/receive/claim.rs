//! The step that reveals the preimage.

use std::time::Duration;

use ark_lib::lightning::PaymentHash;
use ark_lib::vtxo::Full;
use ark_lib::{Address, Vtxo, VtxoId, VtxoPolicy};
use bitcoin::secp256k1::Keypair;

use super::LightningReceive;
use super::endangered::ENDANGERED;
use crate::ark::{self, ReceiveStatus};
use crate::model::{Attention, Invoice, InvoiceOutcome, MovementStatus, OperationId, VtxoState};
use crate::store::{lightning_receive, vtxo, vtxo_body};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::steps::unsigned::Unsigned;
use crate::wallet::engine::{Next, Step, Tries, attention, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The fact that the server has the preimage and refuses the money.
pub(super) const REFUSED: &str = "lightning_claim_refused";

/// The pause before a server that is not connected is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Claims the HTLCs with the preimage. Each try asks for the same transactions, so the server answers it again. A refusal proves
/// nothing: the server stores the preimage before its last checks (W4).
pub(super) async fn claim(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
    htlcs: Vec<VtxoId>,
    tries: Tries,
) -> Result<Step<LightningReceive>> {
    let invoice = wallet.invoice(hash).await?;
    if tries.failed >= u32::from(wallet.settings.claim_retries).max(1) {
        wallet.raise(refused(id, &invoice)).await?;
    }
    let destination = payee(&invoice)?;
    let policy = match &destination {
        Some(address) => address.policy().clone(),
        None => VtxoPolicy::new_pubkey(wallet.keys.vtxo_key(invoice.key_index)?.public_key()),
    };
    let signers = wallet.signers(htlcs.clone()).await?;
    // A try that failed may have revealed the preimage. Before that it is secret, unless the process died during the first try.
    if tries.failed == 0 {
        match keep_secret(wallet, id, &invoice, &signers).await {
            Ok(None) => {}
            Ok(Some(step)) => return Ok(step),
            // Not a failed try: the next step has to look at the time as well (H9).
            Err(error) => {
                tracing::warn!(%error, "cannot find out whether there is time to claim a Lightning payment; its preimage stays secret");
                return Ok(Step::AwaitNudge(PAUSE));
            }
        }
    }
    let unsigned = Unsigned::claim_all(signers, policy)?;
    let request = unsigned.request();
    let claimed = wallet
        .server
        .claim_lightning_receive(invoice.preimage, request);
    let response = match claimed.await {
        // The request, and so the preimage, was not sent; an earlier one may have been.
        Err(ark::Error::Unreachable(_)) if tries.failed == 0 => return Ok(Step::AwaitNudge(PAUSE)),
        answer => answer?,
    };
    let outputs = unsigned.finish(wallet, response).await?.outgoing;
    let ids: Vec<VtxoId> = outputs.iter().map(Vtxo::id).collect();
    let is_own = destination.is_none();
    let next = if is_own {
        LightningReceive::Register {
            hash,
            outputs: ids.clone(),
        }
    } else {
        LightningReceive::Deliver {
            hash,
            outputs: ids.clone(),
        }
    };
    let id = id.clone();
    // Stored before they are registered (W5).
    Ok(Step::commit(
        CommitPoint::LightningReceiveClaimed,
        Next::State(next),
        move |tx| {
            for code in [REFUSED, ENDANGERED] {
                attention::clear(tx, code, id.as_str())?;
            }
            for htlc in &htlcs {
                vtxo::spend_held(tx, *htlc, &id)?;
            }
            for output in &outputs {
                if is_own {
                    vtxo::insert(tx, output, VtxoState::Locked(Some(id.clone())))?;
                } else {
                    vtxo_body::put(tx, output)?;
                }
            }
            if is_own {
                end::add_outputs(tx, &id, &ids)?;
            }
            Ok(())
        },
    ))
}

/// What to do instead of the claim when the daemon comes back too late to claim on chain what the server might keep (H9): the preimage is
/// not revealed then. `None` if there is time, or the server has the preimage already.
async fn keep_secret(
    wallet: &Wallet,
    id: &OperationId,
    invoice: &Invoice,
    htlcs: &[(Vtxo<Full>, Keypair)],
) -> Result<Option<Step<LightningReceive>>> {
    let info = wallet.awaited_info().await?;
    let tip = wallet.chain.tip().await?.height;
    let late = htlcs
        .iter()
        .find_map(|(htlc, _)| wallet.check_time(htlc, &info, tip).err());
    let Some(late) = late else {
        return Ok(None);
    };
    match wallet.server.check_lightning_receive(invoice.hash).await? {
        ReceiveStatus::Settled(_) => Ok(None),
        ReceiveStatus::Canceled => {
            let htlcs = htlcs.iter().map(|(htlc, _)| htlc.id()).collect();
            Ok(Some(abandon(id, invoice.hash, htlcs)))
        }
        ReceiveStatus::Created | ReceiveStatus::Accepted | ReceiveStatus::HtlcsReady => {
            tracing::warn!(
                reason = late,
                "too late to claim a Lightning payment safely; its preimage stays secret"
            );
            Ok(Some(Step::AwaitBlock))
        }
    }
}

/// Ends a receive whose payer has got the money back. The HTLCs are worth nothing without the preimage.
fn abandon(id: &OperationId, hash: PaymentHash, htlcs: Vec<VtxoId>) -> Step<LightningReceive> {
    let reason = "the daemon came back too late to claim it, and the payer got the money back";
    let error = Error::conflict("receive_given_up", reason);
    let id = id.clone();
    Step::commit(
        CommitPoint::LightningReceiveAbandoned,
        Next::Failed(error),
        move |tx| {
            for htlc in &htlcs {
                vtxo::spend_held(tx, *htlc, &id)?;
            }
            let (outcome, now) = (InvoiceOutcome::Failed, clock::now_millis());
            lightning_receive::end(tx, hash, outcome, Some(reason), now)?;
            end::fail_movement(tx, &id, MovementStatus::Canceled)
        },
    )
}

/// The Ark address that gets what is claimed, if it is not the wallet.
pub(super) fn payee(invoice: &Invoice) -> Result<Option<Address>> {
    let address = invoice.destination.as_deref().map(str::parse).transpose();
    address.map_err(|error| Error::internal(anyhow::anyhow!("the payee of an invoice: {error}")))
}

fn refused(id: &OperationId, invoice: &Invoice) -> Attention {
    Attention {
        code: REFUSED.into(),
        subject: id.to_string(),
        message: format!(
            "The Ark server does not hand over a Lightning payment of {} sat, although the wallet has revealed the preimage to it.",
            invoice.amount.to_sat()
        ),
        what_to_do: "The wallet keeps claiming, at least once a minute. Make sure that the daemon reaches the Ark server. If the server refuses, contact its operator with the payment hash. With lightning_auto_exit, the HTLCs are exited while there is time to claim them on chain.".into(),
    }
}
