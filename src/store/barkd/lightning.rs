//! The Lightning payments of barkd that have succeeded.

use ark_lib::lightning::{PaymentHash, Preimage};
use rusqlite::Connection;

use super::{moment, parse};
use crate::store::Error;

/// An invoice that barkd has paid.
pub struct PaidInvoice {
    /// The payment hash.
    pub hash: PaymentHash,
    /// What proves the payment.
    pub preimage: Preimage,
    /// Unix milliseconds.
    pub paid_at: i64,
}

/// An invoice of barkd that was paid.
pub struct SettledReceive {
    /// The payment hash.
    pub hash: PaymentHash,
    /// Its preimage.
    pub preimage: Preimage,
    /// The BOLT11 invoice.
    pub bolt11: String,
    /// Unix milliseconds.
    pub settled_at: i64,
}

pub(super) fn paid(connection: &Connection) -> Result<Vec<PaidInvoice>, Error> {
    let sql = "SELECT payment_hash, preimage, paid_at FROM bark_paid_invoice ORDER BY paid_at";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (hash, preimage) = proof(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?;
        found.push(PaidInvoice {
            hash,
            preimage,
            paid_at: moment(&row.get::<_, String>(2)?)?.timestamp_millis(),
        });
    }
    Ok(found)
}

pub(super) fn received(connection: &Connection) -> Result<Vec<SettledReceive>, Error> {
    let sql = "SELECT payment_hash, preimage, invoice, settled_at FROM bark_settled_lightning_receive ORDER BY settled_at";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (hash, preimage) = proof(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?;
        found.push(SettledReceive {
            hash,
            preimage,
            bolt11: row.get(2)?,
            settled_at: moment(&row.get::<_, String>(3)?)?.timestamp_millis(),
        });
    }
    Ok(found)
}

/// A payment hash and its preimage, in hex.
fn proof(hash: &str, preimage: &str) -> Result<(PaymentHash, Preimage), Error> {
    let hash: PaymentHash = parse("payment hash", hash)?;
    let preimage: Preimage = parse("preimage", preimage)?;
    if preimage.compute_payment_hash() != hash {
        return Err(Error::corrupt(
            "preimage",
            format!("it is not that of {hash}"),
        ));
    }
    Ok((hash, preimage))
}
