//! What the API shows of invoices.

use std::str::FromStr;

use ark_lib::VtxoId;
use ark_lib::lightning::{PaymentHash, Preimage};
use bitcoin::Amount;
use chrono::{DateTime, Utc};
use lightning_invoice::Bolt11Invoice;
use rusqlite::Connection;

use super::LightningReceive;
use crate::model::{Invoice, InvoiceOutcome, OperationId};
use crate::store::{lightning_receive, operation};
use crate::wallet::engine::state_of;
use crate::wallet::{Error, Result, Wallet};

/// How far a receive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivePhase {
    /// Not paid, or paid and not validated yet.
    AwaitingPayment,
    /// The server has granted HTLCs; the preimage is about to go out.
    HtlcsReady,
    /// The preimage may be out; the money is being claimed.
    PreimageRevealed,
    /// Claimed, and on its way to an Ark address.
    Delivering,
    /// Done.
    Settled,
}

impl ReceivePhase {
    /// The name of the phase in the API.
    pub fn name(self) -> &'static str {
        match self {
            ReceivePhase::AwaitingPayment => "awaiting-payment",
            ReceivePhase::HtlcsReady => "htlcs-ready",
            ReceivePhase::PreimageRevealed => "preimage-revealed",
            ReceivePhase::Delivering => "delivering",
            ReceivePhase::Settled => "settled",
        }
    }
}

/// An invoice, and how far its payment is.
#[derive(Clone, Debug)]
pub struct ReceiveInfo {
    /// The payment hash.
    pub hash: PaymentHash,
    /// How far the receive is.
    pub phase: ReceivePhase,
    /// The BOLT11 invoice.
    pub bolt11: String,
    /// The preimage, once the receive is settled: it proves the payment to whoever has it.
    pub preimage: Option<Preimage>,
    /// What the payer pays.
    pub amount: Amount,
    /// The HTLC VTXOs that are being claimed.
    pub htlcs: Vec<VtxoId>,
    /// When it was settled.
    pub settled_at: Option<DateTime<Utc>>,
    /// From when on no payment is accepted.
    pub expires_at: Option<DateTime<Utc>>,
    /// The name that the API client gave it.
    pub external_id: Option<String>,
}

impl Wallet {
    /// The receives that have not ended, oldest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn unfinished_receives(&self) -> Result<Vec<ReceiveInfo>> {
        self.store
            .read(|connection| {
                let invoices = lightning_receive::unfinished(connection)?;
                let infos = invoices.into_iter().map(|it| describe(connection, it));
                infos.collect()
            })
            .await
    }

    /// A receive that has not ended, or is settled. `identifier` is its payment hash, its invoice, or once it is settled its preimage.
    ///
    /// # Errors
    /// `invalid_identifier`, `unknown_receive`; `receive_ended` if it ended without payment.
    pub async fn receive_info(&self, identifier: &str) -> Result<ReceiveInfo> {
        let invoice = self.find_invoice(identifier).await?;
        if let Some(end) = &invoice.end
            && end.outcome != InvoiceOutcome::Settled
        {
            let reason = end.reason.as_ref();
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            let message = format!(
                "this invoice was not paid, it is {}{reason}",
                end.outcome.name()
            );
            return Err(Error::not_found("receive_ended", message, invoice.hash));
        }
        self.store
            .read(|connection| describe(connection, invoice))
            .await
    }

    pub(super) async fn find_invoice(&self, identifier: &str) -> Result<Invoice> {
        let Identifier { hash, preimage } = parse(identifier)?;
        let found = self
            .store
            .read(move |connection| {
                if let Some(found) = lightning_receive::get(connection, hash)? {
                    return Ok(Some(found));
                }
                let Some(preimage) = preimage else {
                    return Ok(None);
                };
                let by_preimage =
                    lightning_receive::get(connection, preimage.compute_payment_hash())?;
                Ok::<_, Error>(by_preimage.filter(is_settled))
            })
            .await?;
        found.ok_or_else(|| {
            let message =
                "the wallet has no Lightning receive with this payment hash, invoice or preimage; GET /api/v1/lightning/receives lists the open ones";
            Error::not_found("unknown_receive", message, identifier)
        })
    }
}

struct Identifier {
    hash: PaymentHash,
    preimage: Option<Preimage>,
}

fn parse(identifier: &str) -> Result<Identifier> {
    if let Ok(hash) = PaymentHash::from_str(identifier) {
        return Ok(Identifier {
            hash,
            preimage: Preimage::from_str(identifier).ok(),
        });
    }
    match Bolt11Invoice::from_str(identifier) {
        Ok(invoice) => Ok(Identifier {
            hash: PaymentHash::from(&invoice),
            preimage: None,
        }),
        Err(_) => Err(Error::bad_request(
            "invalid_identifier",
            "a receive is named by its payment hash (64 hex characters), its BOLT11 invoice, or once it is settled its preimage",
        )),
    }
}

fn is_settled(invoice: &Invoice) -> bool {
    let end = invoice.end.as_ref();
    end.is_some_and(|end| end.outcome == InvoiceOutcome::Settled)
}

fn describe(connection: &Connection, invoice: Invoice) -> Result<ReceiveInfo> {
    let settled = is_settled(&invoice);
    let (phase, htlcs) = if settled {
        (ReceivePhase::Settled, Vec::new())
    } else if invoice.accepted_at.is_some() {
        progress(connection, invoice.hash)?
    } else {
        (ReceivePhase::AwaitingPayment, Vec::new())
    };
    let end = invoice.end.as_ref().filter(|_| settled);
    Ok(ReceiveInfo {
        hash: invoice.hash,
        phase,
        preimage: settled.then_some(invoice.preimage),
        amount: invoice.amount,
        htlcs,
        settled_at: end.and_then(|end| DateTime::from_timestamp_millis(end.at)),
        expires_at: DateTime::from_timestamp_millis(invoice.expires_at),
        bolt11: invoice.bolt11,
        external_id: invoice.external_id,
    })
}

/// How far the operation of a paid invoice is.
fn progress(connection: &Connection, hash: PaymentHash) -> Result<(ReceivePhase, Vec<VtxoId>)> {
    let id = OperationId::lightning_receive(hash);
    let row = operation::get(connection, &id)?;
    let row = row.ok_or_else(|| Error::internal(anyhow::anyhow!("operation {id} is missing")))?;
    // One that cannot be read stands in the list of what waits for the operator (H57).
    let Ok(state) = state_of::<LightningReceive>(&row) else {
        return Ok((ReceivePhase::PreimageRevealed, Vec::new()));
    };
    Ok(match state {
        LightningReceive::Prepare { .. } => (ReceivePhase::AwaitingPayment, Vec::new()),
        LightningReceive::Claim { htlcs, .. } if row.attempts == 0 => {
            (ReceivePhase::HtlcsReady, htlcs)
        }
        LightningReceive::Claim { htlcs, .. } => (ReceivePhase::PreimageRevealed, htlcs),
        LightningReceive::Register { .. } => (ReceivePhase::PreimageRevealed, Vec::new()),
        LightningReceive::Deliver { .. } => (ReceivePhase::Delivering, Vec::new()),
    })
}
