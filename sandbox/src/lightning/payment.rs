//! Payments of the Ark server's node to the world.

use std::time::Duration;

use anyhow::{Context, ensure};
use ark_lib::lightning::{Invoice, PaymentHash, Preimage};
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::LightningNetwork;
use super::store::millis;
use super::world::{FailureReason, Outcome};

/// How a payment stands at the node that pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// On its way.
    Pending,
    /// Taken by the payee.
    Complete(Preimage),
    /// Refused, or without a route.
    Failed(FailureReason),
}

/// A payment to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// What the payee gets, in msat.
    pub amount_msat: u64,
    /// How it stands.
    pub status: PaymentStatus,
}

impl LightningNetwork {
    /// Starts to pay an invoice. A payment that is pending or complete is not started again; one that failed is. An invoice without
    /// amount is paid `amount_msat`, any other what it says.
    pub fn pay(&self, invoice: &Invoice, amount_msat: u64) -> anyhow::Result<()> {
        let hash = invoice.payment_hash();
        let amount = invoice.amount_msat().unwrap_or(amount_msat);
        let refused = match self.world_invoice(hash)? {
            Some(known) if known.invoice != invoice.to_string() => {
                Some(FailureReason::DestinationRejected)
            }
            Some(known) if known.expires <= self.clock.now() => Some(FailureReason::InvoiceState),
            Some(_) => None,
            None => Some(FailureReason::NoRoute),
        };
        self.store.lock().execute(
            "INSERT INTO payment (hash, amount_msat, started_ms, status, reason) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (hash) DO UPDATE
                 SET amount_msat = ?2, started_ms = ?3, status = ?4, reason = ?5 WHERE status = 'failed'",
            params![
                hash.to_vec(),
                amount,
                millis(self.clock.now()),
                if refused.is_some() { "failed" } else { "pending" },
                refused.map(|reason| serde_json::to_string(&reason)).transpose()?,
            ],
        )?;
        self.wake();
        Ok(())
    }

    /// How the payment with this hash stands; `None` if it was never started.
    pub fn payment(&self, hash: PaymentHash) -> anyhow::Result<Option<Payment>> {
        let row = self
            .store
            .lock()
            .query_row(
                "SELECT amount_msat, status, reason, started_ms FROM payment WHERE hash = ?1",
                [hash.to_vec()],
                |row| {
                    Ok((
                        row.get::<_, u64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, Option<String>>(2)?,
                        row.get::<_, u64>(3)?,
                    ))
                },
            )
            .optional()?;
        let Some((amount_msat, status, reason, started)) = row else {
            return Ok(None);
        };
        let status = match status.as_str() {
            "pending" => self.resolve(hash, Duration::from_millis(started))?,
            "complete" => PaymentStatus::Complete(self.preimage_of(hash)?),
            _ => {
                let reason = reason.context("a failed payment without a reason")?;
                PaymentStatus::Failed(serde_json::from_str(&reason)?)
            }
        };
        Ok(Some(Payment {
            amount_msat,
            status,
        }))
    }

    /// Applies the outcome of a pending payment if it is due.
    fn resolve(&self, hash: PaymentHash, started: Duration) -> anyhow::Result<PaymentStatus> {
        let invoice = self.world_invoice(hash)?;
        let is_due = |delay_ms: u64| self.clock.now() >= started + Duration::from_millis(delay_ms);
        match invoice.context("a payment of an unknown invoice")?.outcome {
            Outcome::Settle { delay_ms } if is_due(delay_ms) => {
                self.end_payment(hash, None)?;
                Ok(PaymentStatus::Complete(self.preimage_of(hash)?))
            }
            Outcome::Fail { reason, delay_ms } if is_due(delay_ms) => {
                self.end_payment(hash, Some(reason))?;
                Ok(PaymentStatus::Failed(reason))
            }
            _ => Ok(PaymentStatus::Pending),
        }
    }

    /// The world takes a payment that it holds.
    pub fn settle_payment(&self, hash: PaymentHash) -> anyhow::Result<()> {
        self.end_payment(hash, None)
    }

    /// The world refuses a payment that it holds.
    pub fn fail_payment(&self, hash: PaymentHash, reason: FailureReason) -> anyhow::Result<()> {
        self.end_payment(hash, Some(reason))
    }

    fn end_payment(&self, hash: PaymentHash, reason: Option<FailureReason>) -> anyhow::Result<()> {
        let changed = self.store.lock().execute(
            "UPDATE payment SET status = ?2, reason = ?3 WHERE hash = ?1 AND status = 'pending'",
            params![
                hash.to_vec(),
                if reason.is_some() {
                    "failed"
                } else {
                    "complete"
                },
                reason
                    .map(|reason| serde_json::to_string(&reason))
                    .transpose()?,
            ],
        )?;
        ensure!(changed == 1, "no pending payment has this hash");
        self.wake();
        Ok(())
    }

    fn preimage_of(&self, hash: PaymentHash) -> anyhow::Result<Preimage> {
        let invoice = self.world_invoice(hash)?;
        Ok(invoice.context("a payment of an unknown invoice")?.preimage)
    }
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Shown {
    Pending,
    Complete { preimage: String },
    Failed { reason: FailureReason },
}

impl Serialize for PaymentStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = match self {
            PaymentStatus::Pending => Shown::Pending,
            PaymentStatus::Complete(preimage) => Shown::Complete {
                preimage: preimage.to_string(),
            },
            PaymentStatus::Failed(reason) => Shown::Failed { reason: *reason },
        };
        shown.serialize(serializer)
    }
}
