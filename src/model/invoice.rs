//! The invoices of the wallet.

use std::fmt;

use ark_lib::lightning::{PaymentHash, Preimage};
use bitcoin::Amount;
use bitcoin_ext::BlockDelta;

/// An invoice over which the wallet is paid. Times are unix milliseconds.
#[derive(Clone)]
pub struct Invoice {
    /// The payment hash.
    pub hash: PaymentHash,
    /// The preimage. It is secret until the wallet claims the payment.
    pub preimage: Preimage,
    /// The BOLT11 invoice.
    pub bolt11: String,
    /// What the payer pays.
    pub amount: Amount,
    /// The most that the Ark server may keep of it.
    pub fee: Amount,
    /// Index of the wallet's key that gets the HTLCs.
    pub key_index: u32,
    /// Blocks that the payer's HTLCs outlive their arrival at least, without those that the server needs itself.
    pub min_cltv: BlockDelta,
    /// The token with which the server grants HTLCs, if there is one.
    pub token: Option<String>,
    /// The Ark address that gets what is claimed; the wallet itself if absent.
    pub destination: Option<String>,
    /// The name that the API client gave it.
    pub external_id: Option<String>,
    /// When it was made.
    pub created_at: i64,
    /// From when on no payment is accepted.
    pub expires_at: i64,
    /// When the operation that claims its payment was written.
    pub accepted_at: Option<i64>,
    /// When and how it ended.
    pub end: Option<InvoiceEnd>,
}

/// The end of an [`Invoice`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceEnd {
    /// Unix milliseconds.
    pub at: i64,
    /// How it ended.
    pub outcome: InvoiceOutcome,
    /// Why it was not paid.
    pub reason: Option<String>,
}

/// How an [`Invoice`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceOutcome {
    /// The wallet has the money.
    Settled,
    /// Canceled on request.
    Canceled,
    /// Nobody paid in time.
    Expired,
    /// A payment was given up before its preimage was revealed; the payer has the money back.
    Failed,
}

impl InvoiceOutcome {
    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            InvoiceOutcome::Settled => "settled",
            InvoiceOutcome::Canceled => "canceled",
            InvoiceOutcome::Expired => "expired",
            InvoiceOutcome::Failed => "failed",
        }
    }

    /// The outcome with this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<InvoiceOutcome> {
        [
            InvoiceOutcome::Settled,
            InvoiceOutcome::Canceled,
            InvoiceOutcome::Expired,
            InvoiceOutcome::Failed,
        ]
        .into_iter()
        .find(|outcome| outcome.name() == name)
    }
}

/// Without the preimage and the token, which are secrets.
impl fmt::Debug for Invoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invoice")
            .field("hash", &self.hash)
            .field("amount", &self.amount)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
