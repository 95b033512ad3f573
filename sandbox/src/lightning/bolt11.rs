//! Signed BOLT11 invoices.

use std::time::Duration;

use anyhow::anyhow;
use ark_lib::SECP;
use ark_lib::lightning::PaymentHash;
use bitcoin::hashes::sha256;
use bitcoin::secp256k1::Keypair;
use lightning_invoice::{
    Bolt11Invoice, Bolt11InvoiceDescription, Currency, InvoiceBuilder, PaymentSecret, Sha256,
};

/// What an invoice says it is for.
#[derive(Debug, Clone)]
pub enum Description {
    /// A text.
    Text(String),
    /// The hash of a text that the payer has from elsewhere.
    Hash(sha256::Hash),
}

impl Description {
    fn to_field(&self) -> anyhow::Result<Bolt11InvoiceDescription> {
        Ok(match self {
            Description::Text(text) => Bolt11InvoiceDescription::Direct(
                lightning_invoice::Description::new(text.clone())
                    .map_err(|error| anyhow!("invalid invoice description: {error}"))?,
            ),
            Description::Hash(hash) => Bolt11InvoiceDescription::Hash(Sha256(*hash)),
        })
    }

    /// Whether it fits into an invoice.
    pub fn is_valid(&self) -> bool {
        self.to_field().is_ok()
    }
}

/// The contents of an invoice.
#[derive(Debug, Clone)]
pub struct InvoiceTerms {
    /// The payment hash.
    pub hash: PaymentHash,
    /// The amount in msat, if the invoice names one.
    pub amount_msat: Option<u64>,
    /// What it is for.
    pub description: Description,
    /// When it was created, since 1970.
    pub created: Duration,
    /// How long it is valid.
    pub expiry: Duration,
    /// Blocks that the last HTLC must have left.
    pub min_final_cltv: u64,
    /// The network that it names.
    pub currency: Currency,
}

impl InvoiceTerms {
    /// The invoice, signed by `node`.
    pub fn sign(self, node: &Keypair) -> anyhow::Result<Bolt11Invoice> {
        let mut invoice = InvoiceBuilder::new(self.currency)
            .invoice_description(self.description.to_field()?)
            .payment_hash(self.hash.to_sha256_hash())
            .payment_secret(PaymentSecret(rand::random()))
            .duration_since_epoch(self.created)
            .expiry_time(self.expiry)
            .min_final_cltv_expiry_delta(self.min_final_cltv)
            .basic_mpp();
        if let Some(amount) = self.amount_msat {
            invoice = invoice.amount_milli_satoshis(amount);
        }
        let key = node.secret_key();
        invoice
            .build_signed(|message| SECP.sign_ecdsa_recoverable(message, &key))
            .map_err(|error| anyhow!("invoice: {error}"))
    }
}
