//! The step that gets HTLC VTXOs for a payment that the server holds.

use std::time::Duration;

use ark_lib::attestations::LightningReceiveAttestation;
use ark_lib::lightning::PaymentHash;
use ark_lib::vtxo::Full;
use ark_lib::{ArkInfo, Vtxo, VtxoId};
use bitcoin_ext::BlockHeight;
use rand::seq::IteratorRandom;

use super::LightningReceive;
use super::create::slack_of;
use super::grant::{Grant, Terms};
use crate::ark::{self, AntiDosProof, ReceiveStatus};
use crate::model::{
    Fact, Facts, Invoice, InvoiceOutcome, MovementStatus, NewMovement, OperationId, PaymentMethod,
    Subsystem, Transfer, VtxoState,
};
use crate::store::{WriteTx, anchor, lightning_receive, movement, vtxo};
use crate::wallet::coins::select::is_free;
use crate::wallet::engine::steps::end::signed;
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The pause before the server is asked again. It holds a payment for three minutes.
const PAUSE: Duration = Duration::from_secs(2);
/// The same while it says that nothing is paid.
const PAUSE_UNPAID: Duration = Duration::from_secs(20);

/// Requests within one step, each with other terms than the one before.
const MAX_REQUESTS: usize = 3;
/// Blocks that a VTXO has left at least if it serves as proof.
const PROOF_LIFETIME: u32 = 2;

/// Requests the HTLC VTXOs. The preimage is secret until the commit of this step.
pub(super) async fn prepare(
    wallet: &Wallet,
    id: &OperationId,
    hash: PaymentHash,
) -> Result<Step<LightningReceive>> {
    let invoice = wallet.invoice(hash).await?;
    let info = wallet.awaited_info().await?;
    let tip = wallet.chain.tip().await?.height;
    let key = wallet.keys.vtxo_key(invoice.key_index)?.public_key();
    let room = wallet.claim_room(&info);
    let least = tip.to_u32().saturating_add(room);
    // Half of the slack is for blocks that came since the payment arrived, half for those until the claim.
    let mut expiry = least.saturating_add(slack_of(invoice.min_cltv, room) / 2);
    let mut proof = proof(wallet, &info, &invoice, tip).await?;
    let mut refusal = String::new();
    for _ in 0..MAX_REQUESTS {
        let asked = wallet.server.prepare_lightning_receive(
            hash,
            key,
            BlockHeight::new(expiry),
            proof.clone(),
        );
        refusal = match asked.await {
            Ok(htlcs) => {
                let terms = Terms {
                    invoice: &invoice,
                    info: &info,
                    key,
                    tip: Some(tip),
                };
                return reveal_for(wallet, id, htlcs, &terms).await;
            }
            Err(ark::Error::Rejected { message, .. }) => message,
            Err(error) => {
                tracing::warn!(%error, "the Ark server does not grant HTLCs now; asking again");
                return Ok(Step::AwaitNudge(PAUSE));
            }
        };
        if let Some(lowest) = lowest_expiry(&refusal) {
            let latest = lowest.saturating_sub(u32::from(info.htlc_expiry_delta.to_u16()));
            if latest < least || latest >= expiry {
                return Ok(give_up(hash, &refusal));
            }
            expiry = latest;
        } else if matches!(proof, Some(AntiDosProof::Token(_))) {
            // The server takes a token once, also when it then refuses the request.
            proof = vtxo_proof(wallet, hash, tip).await?;
        } else {
            break;
        }
    }
    by_status(wallet, id, &invoice, &info, refusal).await
}

/// Goes on from a refusal by what the server says about the payment.
async fn by_status(
    wallet: &Wallet,
    id: &OperationId,
    invoice: &Invoice,
    info: &ArkInfo,
    refusal: String,
) -> Result<Step<LightningReceive>> {
    let hash = invoice.hash;
    let status = match wallet.server.check_lightning_receive(hash).await {
        Ok(status) => status,
        // It does not know the invoice any more, so nobody can pay it.
        Err(ark::Error::Rejected { message, .. }) => return Ok(give_up(hash, &message)),
        Err(error) => return Err(error.into()),
    };
    match status {
        ReceiveStatus::Canceled => Ok(give_up(hash, &refusal)),
        ReceiveStatus::Created if clock::now_millis() >= invoice.expires_at => {
            Ok(give_up(hash, "nothing was paid"))
        }
        ReceiveStatus::Created => Ok(Step::AwaitNudge(PAUSE_UNPAID)),
        ReceiveStatus::Accepted if refusal.contains("Inbound HTLC too close") => {
            Ok(give_up(hash, &refusal))
        }
        ReceiveStatus::Accepted | ReceiveStatus::HtlcsReady => {
            tracing::warn!(
                refusal,
                "the Ark server refuses to grant HTLCs; asking again"
            );
            Ok(Step::AwaitNudge(PAUSE))
        }
        // Somebody with a copy of this wallet has revealed the preimage. The same claim is answered again.
        ReceiveStatus::Settled(ids) => {
            let mut htlcs = Vec::with_capacity(ids.len());
            for vtxo in ids {
                htlcs.push(wallet.server.fetch_vtxo(vtxo).await?);
            }
            let terms = Terms {
                invoice,
                info,
                key: wallet.keys.vtxo_key(invoice.key_index)?.public_key(),
                tip: None,
            };
            reveal_for(wallet, id, htlcs, &terms).await
        }
    }
}

/// Goes on to the claim if the HTLCs are worth the preimage.
async fn reveal_for(
    wallet: &Wallet,
    id: &OperationId,
    htlcs: Vec<Vtxo<Full>>,
    terms: &Terms<'_>,
) -> Result<Step<LightningReceive>> {
    let invoice = terms.invoice;
    let grant = match wallet.check_grant(htlcs, terms).await? {
        Ok(grant) => grant,
        Err(flaw) => {
            let reason =
                format!("the Ark server granted HTLCs that are not worth the preimage: {flaw}");
            return Ok(give_up(invoice.hash, &reason));
        }
    };
    let htlcs: Vec<VtxoId> = grant.htlcs.iter().map(Vtxo::id).collect();
    if is_claimed_elsewhere(wallet, htlcs.clone()).await? {
        return Ok(claimed_elsewhere(invoice.hash));
    }
    let next = LightningReceive::Claim {
        hash: invoice.hash,
        htlcs,
    };
    let (id, invoice) = (id.clone(), invoice.clone());
    Ok(Step::commit(
        CommitPoint::LightningReceiveRevealing,
        Next::State(next),
        move |tx| store_grant(tx, &id, &invoice, &grant),
    ))
}

fn store_grant(
    tx: &mut WriteTx<'_>,
    id: &OperationId,
    invoice: &Invoice,
    grant: &Grant,
) -> Result<()> {
    for htlc in &grant.htlcs {
        if !vtxo::insert(tx, htlc, VtxoState::Locked(Some(id.clone())))? {
            let known = anyhow::anyhow!("the wallet has the granted VTXO {} already", htlc.id());
            return Err(Error::internal(known));
        }
    }
    for transaction in &grant.anchors {
        anchor::insert(tx, transaction)?;
    }
    let sent_to = invoice.destination.iter().map(|address| Transfer {
        method: PaymentMethod::Ark(address.clone()),
        amount: grant.amount,
    });
    let received_on = Transfer {
        method: PaymentMethod::Invoice(invoice.bolt11.clone()),
        amount: invoice.amount,
    };
    let fee = invoice.amount.checked_sub(grant.amount);
    let movement = NewMovement {
        operation: Some(id),
        status: MovementStatus::Pending,
        subsystem: Subsystem::LightningReceive,
        intended_balance: signed(invoice.amount)?,
        effective_balance: signed(grant.amount)?,
        offchain_fee: fee.unwrap_or_default(),
        sent_to: &sent_to.collect::<Vec<_>>(),
        received_on: &[received_on],
        input_vtxos: &[],
        output_vtxos: &[],
        metadata: metadata(invoice, &grant.htlcs),
    };
    movement::insert(tx, &movement, clock::now_millis())?;
    Ok(())
}

fn metadata(invoice: &Invoice, htlcs: &[Vtxo<Full>]) -> Facts {
    let ids: Vec<String> = htlcs.iter().map(|htlc| htlc.id().to_string()).collect();
    Facts::from([
        (Fact::PaymentHash, invoice.hash.to_string().into()),
        (Fact::HtlcVtxos, ids.into()),
    ])
}

/// Ends a receive whose preimage is secret: the payer gets the money back.
fn give_up(hash: PaymentHash, reason: &str) -> Step<LightningReceive> {
    let reason = reason.to_owned();
    let message =
        format!("the Lightning payment is given up, and the payer gets it back: {reason}");
    let error = Error::conflict("receive_given_up", message);
    Step::commit(
        CommitPoint::LightningReceiveGivenUp,
        Next::Failed(error),
        move |tx| end_as_failed(tx, hash, &reason),
    )
}

/// Whether a recovery has stored granted HTLCs as spent: a newer copy of the wallet has claimed them.
async fn is_claimed_elsewhere(wallet: &Wallet, htlcs: Vec<VtxoId>) -> Result<bool> {
    wallet
        .store
        .read(move |connection| {
            for htlc in htlcs {
                if vtxo::get(connection, htlc)?.is_some_and(|it| it.state == VtxoState::Spent) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await
}

/// The end of a receive that a newer copy of the wallet has claimed. Its VTXOs come back by the recovery, with a movement of their own.
/// The server's word alone does not make the invoice settled.
fn claimed_elsewhere(hash: PaymentHash) -> Step<LightningReceive> {
    let reason = "a newer copy of this wallet has claimed the payment; GET /api/v1/wallet shows the recovery of what it received";
    let error = Error::conflict("receive_claimed_elsewhere", reason);
    Step::commit(
        CommitPoint::LightningReceiveGivenUp,
        Next::Failed(error),
        move |tx| end_as_failed(tx, hash, reason),
    )
}

fn end_as_failed(tx: &WriteTx<'_>, hash: PaymentHash, reason: &str) -> Result<()> {
    let (outcome, now) = (InvoiceOutcome::Failed, clock::now_millis());
    Ok(lightning_receive::end(
        tx,
        hash,
        outcome,
        Some(reason),
        now,
    )?)
}

/// The proof that the server wants to see before it grants HTLCs, if it wants one.
async fn proof(
    wallet: &Wallet,
    info: &ArkInfo,
    invoice: &Invoice,
    tip: BlockHeight,
) -> Result<Option<AntiDosProof>> {
    if !info.ln_receive_anti_dos_required {
        return Ok(None);
    }
    match &invoice.token {
        Some(token) => Ok(Some(AntiDosProof::Token(token.clone()))),
        None => vtxo_proof(wallet, invoice.hash, tip).await,
    }
}

/// A proof with a VTXO of the wallet: another one each time, because the server refuses some for reasons of its own.
async fn vtxo_proof(
    wallet: &Wallet,
    hash: PaymentHash,
    tip: BlockHeight,
) -> Result<Option<AntiDosProof>> {
    let lives = tip.to_u32().saturating_add(PROOF_LIFETIME);
    let chosen: Option<VtxoId> = {
        let live = wallet.store.live_vtxos();
        let usable = live
            .iter()
            .filter(|vtxo| is_free(vtxo) && vtxo.expiry_height.to_u32() > lives);
        usable.map(|vtxo| vtxo.id).choose(&mut rand::rng())
    };
    let Some(chosen) = chosen else {
        return Ok(None);
    };
    let signers = wallet.signers(vec![chosen]).await?;
    let proof = signers.first().map(|(vtxo, key)| {
        let attestation = LightningReceiveAttestation::new(hash, vtxo.id(), key);
        AntiDosProof::Vtxo(vtxo.id(), attestation)
    });
    Ok(proof)
}

/// The height that a refusal names as the lowest expiry of the payer's HTLCs.
fn lowest_expiry(refusal: &str) -> Option<u32> {
    let (_, rest) = refusal.split_once("lowest incoming HTLC expiry ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_expiry_is_read_from_the_refusal() {
        let text = "bad user input: Requested HTLC recv expiry too close: requested 320, lowest incoming HTLC expiry 311";
        assert_eq!(lowest_expiry(text), Some(311));
        assert_eq!(lowest_expiry("lowest incoming HTLC expiry "), None);
        assert_eq!(
            lowest_expiry("lowest incoming HTLC expiry 99999999999"),
            None
        );
        assert_eq!(lowest_expiry("Inbound HTLC too close"), None);
    }
}
