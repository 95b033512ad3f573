//! The world's invoices, and what happens to payments of them.

use std::time::Duration;

use anyhow::Context;
use ark_lib::lightning::{PaymentHash, Preimage};
use lightning_invoice::{Bolt11Invoice, Currency};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::LightningNetwork;
use super::bolt11::{Description, InvoiceTerms};
use super::store::millis;

/// How long the world's invoices are valid unless the caller says otherwise.
const EXPIRY: Duration = Duration::from_secs(3600);
/// Blocks that the world wants the last HTLC to have left, unless the caller says otherwise.
const MIN_FINAL_CLTV: u64 = 18;

/// What the world does with a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It takes the payment after a delay.
    Settle {
        /// Milliseconds.
        #[serde(default)]
        delay_ms: u64,
    },
    /// It refuses the payment after a delay.
    Fail {
        /// Why.
        reason: FailureReason,
        /// Milliseconds.
        #[serde(default)]
        delay_ms: u64,
    },
    /// It holds the payment until [`LightningNetwork::settle_payment`] or [`LightningNetwork::fail_payment`].
    Hold,
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome::Settle { delay_ms: 0 }
    }
}

/// Why a payment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// No route fits the fee budget.
    FeeTooLow,
    /// No route fits the expiry of the HTLC.
    CltvTooLong,
    /// There is no route.
    NoRoute,
    /// The payee refused.
    DestinationRejected,
    /// The payment was not set up in time.
    SetupTimeout,
    /// The invoice is expired, paid or unknown to its issuer.
    InvoiceState,
    /// Anything else.
    Other,
    /// All tries failed.
    RetriesExhausted,
}

/// An invoice to issue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InvoiceRequest {
    /// In msat; the payer chooses if absent.
    pub amount_msat: Option<u64>,
    /// Its text; "sandbox" if absent.
    pub description: Option<String>,
    /// How long it is valid, in seconds.
    pub expiry_s: Option<u64>,
    /// Whether it has expired already.
    pub expired: bool,
    /// Blocks that the last HTLC must have left.
    pub min_final_cltv: Option<u64>,
    /// Whether it is an invoice of the mainnet.
    pub wrong_network: bool,
    /// What happens to a payment.
    pub outcome: Outcome,
}

/// An invoice of the world.
#[derive(Debug, Clone)]
pub struct WorldInvoice {
    /// As it was issued.
    pub invoice: String,
    /// Proves the payment.
    pub preimage: Preimage,
    /// What happens to a payment.
    pub outcome: Outcome,
    /// When it expires, since 1970.
    pub expires: Duration,
    /// What the payer wrote to the LNURL that issued it.
    pub comment: Option<String>,
}

impl LightningNetwork {
    /// Issues an invoice of the world.
    pub fn issue(&self, request: InvoiceRequest) -> anyhow::Result<Bolt11Invoice> {
        let text = request.description.unwrap_or_else(|| "sandbox".to_owned());
        let expiry = request.expiry_s.map_or(EXPIRY, Duration::from_secs);
        let now = self.clock.now();
        self.issue_terms(
            InvoiceTerms {
                hash: Preimage::random().compute_payment_hash(), // replaced
                amount_msat: request.amount_msat,
                description: Description::Text(text),
                created: if request.expired { now - expiry } else { now },
                expiry,
                min_final_cltv: request.min_final_cltv.unwrap_or(MIN_FINAL_CLTV),
                currency: if request.wrong_network {
                    Currency::Bitcoin
                } else {
                    Currency::Regtest
                },
            },
            request.outcome,
            None,
        )
    }

    /// Issues an invoice of the world for an LNURL.
    pub(super) fn issue_for_lnurl(
        &self,
        amount_msat: u64,
        description: Description,
        outcome: Outcome,
        comment: Option<&str>,
    ) -> anyhow::Result<Bolt11Invoice> {
        self.issue_terms(
            InvoiceTerms {
                hash: Preimage::random().compute_payment_hash(), // replaced
                amount_msat: Some(amount_msat),
                description,
                created: self.clock.now(),
                expiry: EXPIRY,
                min_final_cltv: MIN_FINAL_CLTV,
                currency: Currency::Regtest,
            },
            outcome,
            comment,
        )
    }

    fn issue_terms(
        &self,
        terms: InvoiceTerms,
        outcome: Outcome,
        comment: Option<&str>,
    ) -> anyhow::Result<Bolt11Invoice> {
        let preimage = Preimage::random();
        let expires = terms.created + terms.expiry;
        let invoice = InvoiceTerms {
            hash: preimage.compute_payment_hash(),
            ..terms
        }
        .sign(&self.world)?;
        self.keep_invoice(preimage, &invoice.to_string(), expires, outcome, comment)?;
        Ok(invoice)
    }

    pub(super) fn keep_invoice(
        &self,
        preimage: Preimage,
        invoice: &str,
        expires: Duration,
        outcome: Outcome,
        comment: Option<&str>,
    ) -> anyhow::Result<()> {
        self.store.lock().execute(
            "INSERT INTO world_invoice (hash, preimage, invoice, expires_ms, outcome, comment)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                preimage.compute_payment_hash().to_vec(),
                preimage.to_vec(),
                invoice,
                millis(expires),
                serde_json::to_string(&outcome)?,
                comment,
            ],
        )?;
        Ok(())
    }

    /// The invoice of the world with this hash.
    pub fn world_invoice(&self, hash: PaymentHash) -> anyhow::Result<Option<WorldInvoice>> {
        let row = self
            .store
            .lock()
            .query_row(
                "SELECT invoice, preimage, outcome, expires_ms, comment FROM world_invoice WHERE hash = ?1",
                [hash.to_vec()],
                |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, [u8; 32]>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, u64>(3)?,
                        row.get::<_, Option<String>>(4)?,
                    ))
                },
            )
            .optional()?;
        row.map(|(invoice, preimage, outcome, expires, comment)| {
            Ok(WorldInvoice {
                invoice,
                preimage: Preimage::from(preimage),
                outcome: serde_json::from_str(&outcome).context("stored outcome is broken")?,
                expires: Duration::from_millis(expires),
                comment,
            })
        })
        .transpose()
    }

    /// Changes what happens to a payment of an invoice, for a next try or a pending one. Fails if the invoice does not exist.
    pub fn change_outcome(&self, hash: PaymentHash, outcome: Outcome) -> anyhow::Result<()> {
        let changed = self.store.lock().execute(
            "UPDATE world_invoice SET outcome = ?2 WHERE hash = ?1",
            params![hash.to_vec(), serde_json::to_string(&outcome)?],
        )?;
        anyhow::ensure!(changed == 1, "the world has no invoice with this hash");
        self.wake();
        Ok(())
    }
}
