//! Hold invoices: the Ark server's node issues them with a hash that a client chose, and holds the payment until the server
//! settles or cancels it.

use anyhow::{Context, bail, ensure};
use ark_lib::lightning::{PaymentHash, Preimage};
use lightning_invoice::Bolt11Invoice;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use super::LightningNetwork;
use super::bolt11::InvoiceTerms;
use super::store::millis;

/// Blocks before the expiry of a held HTLC at which the node fails it, whatever the Ark server thinks.
const NODE_MARGIN: u32 = 3;

/// How a hold invoice stands at the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// Not paid.
    Open,
    /// The payment is held.
    Accepted,
    /// The payer has the preimage.
    Settled,
    /// The payer has the money back.
    Cancelled,
}

/// A hold invoice.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The invoice.
    pub invoice: String,
    /// How it stands.
    pub status: HoldStatus,
    /// What the world paid, in msat.
    pub paid_msat: Option<u64>,
    /// The lowest expiry height of the held HTLCs.
    pub lowest_expiry: Option<u32>,
    /// What the payer learnt.
    pub preimage: Option<Preimage>,
    /// Blocks that the invoice asks the HTLCs to have left.
    pub min_final_cltv: u32,
}

impl LightningNetwork {
    /// Issues a hold invoice, signed by the Ark server's node. Fails if the node has ever had an invoice with this hash.
    pub fn inject(&self, terms: InvoiceTerms) -> anyhow::Result<Bolt11Invoice> {
        let (hash, expires) = (terms.hash, terms.created + terms.expiry);
        let (amount, min_final) = (terms.amount_msat, terms.min_final_cltv);
        let invoice = terms.sign(&self.server)?;
        let added = self.store.lock().execute(
            "INSERT OR IGNORE INTO hold (hash, invoice, amount_msat, expires_ms, min_final_cltv, status)
             VALUES (?1, ?2, ?3, ?4, ?5, 'open')",
            params![
                hash.to_vec(),
                invoice.to_string(),
                amount.context("a hold invoice needs an amount")?,
                millis(expires),
                min_final,
            ],
        )?;
        ensure!(added == 1, "the node has an invoice with this hash already");
        Ok(invoice)
    }

    /// The hold invoice with this hash.
    pub fn hold(&self, hash: PaymentHash) -> anyhow::Result<Option<Hold>> {
        self.store
            .lock()
            .query_row(
                "SELECT invoice, status, paid_msat, lowest_expiry, preimage, min_final_cltv FROM hold WHERE hash = ?1",
                [hash.to_vec()],
                |row| Ok(read(row)),
            )
            .optional()?
            .transpose()
    }

    /// The world pays an invoice of the Ark server's node; the HTLCs expire `cltv_extra` blocks later than the invoice asks for.
    /// Returns the expiry height.
    pub fn world_pays(
        &self,
        invoice: &Bolt11Invoice,
        amount_msat: Option<u64>,
        cltv_extra: i32,
        tip: u32,
    ) -> anyhow::Result<u32> {
        let hash = PaymentHash::from(invoice);
        let hold = self.hold(hash)?.context("no node knows this invoice")?;
        ensure!(
            hold.invoice == invoice.to_string(),
            "the node has another invoice with this hash"
        );
        ensure!(
            hold.status == HoldStatus::Open,
            "the invoice is paid or cancelled"
        );
        let expires = invoice.duration_since_epoch() + invoice.expiry_time();
        ensure!(self.clock.now() < expires, "the invoice has expired");
        let asked = invoice.amount_milli_satoshis();
        let amount = payable_amount(asked.context("the invoice has no amount")?, amount_msat)?;
        let lowest_expiry = (tip + hold.min_final_cltv)
            .checked_add_signed(cltv_extra)
            .context("cltv_extra is out of range")?;
        self.store.lock().execute(
            "UPDATE hold SET status = 'accepted', paid_msat = ?2, lowest_expiry = ?3 WHERE hash = ?1",
            params![hash.to_vec(), amount, lowest_expiry],
        )?;
        self.wake();
        Ok(lowest_expiry)
    }

    /// The held payments.
    pub fn held(&self) -> anyhow::Result<Vec<PaymentHash>> {
        let db = self.store.lock();
        let mut statement =
            db.prepare("SELECT hash FROM hold WHERE status = 'accepted' ORDER BY rowid")?;
        let hashes = statement.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
        hashes.map(|hash| Ok(PaymentHash::from(hash?))).collect()
    }

    /// Hands the preimage to the payer. Fails unless the payment is held, or settled already.
    pub fn settle(&self, hash: PaymentHash, preimage: Preimage) -> anyhow::Result<()> {
        ensure!(
            preimage.compute_payment_hash() == hash,
            "the preimage does not fit the hash"
        );
        let hold = self.hold(hash)?;
        match hold.context("the node has no such invoice")?.status {
            HoldStatus::Settled => return Ok(()),
            HoldStatus::Accepted => {}
            HoldStatus::Open => bail!("the invoice is not paid"),
            HoldStatus::Cancelled => bail!("the payment was given back"),
        }
        self.store.lock().execute(
            "UPDATE hold SET status = 'settled', preimage = ?2 WHERE hash = ?1",
            params![hash.to_vec(), preimage.to_vec()],
        )?;
        self.wake();
        Ok(())
    }

    /// Gives a held payment back and accepts none any more. Fails if it is settled.
    pub fn cancel(&self, hash: PaymentHash) -> anyhow::Result<()> {
        let hold = self.hold(hash)?;
        ensure!(
            hold.context("the node has no such invoice")?.status != HoldStatus::Settled,
            "the payment is settled"
        );
        self.store.lock().execute(
            "UPDATE hold SET status = 'cancelled' WHERE hash = ?1",
            [hash.to_vec()],
        )?;
        self.wake();
        Ok(())
    }

    /// Gives back the held payments whose HTLCs are about to expire.
    pub fn cancel_late(&self, tip: u32) -> anyhow::Result<()> {
        let changed = self.store.lock().execute(
            "UPDATE hold SET status = 'cancelled' WHERE status = 'accepted' AND lowest_expiry <= ?1",
            [tip + NODE_MARGIN],
        )?;
        if changed > 0 {
            self.wake();
        }
        Ok(())
    }
}

fn read(row: &Row<'_>) -> anyhow::Result<Hold> {
    let status = match row.get::<_, String>("status")?.as_str() {
        "open" => HoldStatus::Open,
        "accepted" => HoldStatus::Accepted,
        "settled" => HoldStatus::Settled,
        "cancelled" => HoldStatus::Cancelled,
        other => bail!("unknown state {other} of a hold invoice"),
    };
    let preimage: Option<[u8; 32]> = row.get("preimage")?;
    Ok(Hold {
        invoice: row.get("invoice")?,
        status,
        paid_msat: row.get("paid_msat")?,
        lowest_expiry: row.get("lowest_expiry")?,
        preimage: preimage.map(Preimage::from),
        min_final_cltv: row.get("min_final_cltv")?,
    })
}

/// The amount of an invoice of the Ark server's node that the world pays, in msat.
fn payable_amount(asked: u64, offered: Option<u64>) -> anyhow::Result<u64> {
    let amount = offered.unwrap_or(asked);
    if amount < asked {
        bail!("{amount} msat is less than the invoice's {asked} msat");
    }
    if amount > asked.saturating_mul(2) {
        bail!("{amount} msat is more than twice the invoice's {asked} msat");
    }
    Ok(amount)
}
