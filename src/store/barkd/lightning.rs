//! The Lightning payments of barkd that have succeeded, and its invoices that nobody has paid yet.

use ark_lib::lightning::{PaymentHash, Preimage};
use bitcoin_ext::BlockDelta;
use rusqlite::Connection;
use serde_json::Value;

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

/// An invoice of barkd that nobody has paid yet, as far as barkd knows.
pub struct OpenReceive {
    /// The payment hash.
    pub hash: PaymentHash,
    /// Its preimage, which is secret.
    pub preimage: Preimage,
    /// The BOLT11 invoice.
    pub bolt11: String,
    /// Index of the key that gets the HTLCs.
    pub key_index: u32,
    /// Blocks that the payer's HTLCs outlive their arrival at least.
    pub min_cltv: BlockDelta,
    /// The token with which the server grants HTLCs, if there is one.
    pub token: Option<String>,
    /// The Ark address that gets what is claimed; the wallet itself if absent.
    pub destination: Option<String>,
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

pub(super) fn open(connection: &Connection) -> Result<Vec<OpenReceive>, Error> {
    let sql = "SELECT payload FROM bark_wallet_action_checkpoint ORDER BY created_at";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let payload = serde_json::from_slice(&row.get::<_, Vec<u8>>(0)?);
        let payload: Value = payload.map_err(|error| Error::corrupt("operation", error))?;
        if let Some(receive) = unpaid(&payload) {
            found.push(open_receive(receive)?);
        }
    }
    Ok(found)
}

/// The receive that an operation is, if nobody has paid its invoice yet.
pub(super) fn unpaid(operation: &Value) -> Option<&Value> {
    let receive = operation.get("LightningReceive")?;
    (receive["progress"] == "AwaitingPayment").then_some(receive)
}

fn open_receive(receive: &Value) -> Result<OpenReceive, Error> {
    let missing = |field| Error::corrupt("unpaid invoice", format!("it has no {field}"));
    let text = |field| receive[field].as_str().ok_or_else(|| missing(field));
    let number = |field| receive[field].as_u64().ok_or_else(|| missing(field));
    let optional = |field: &str| receive[field].as_str().map(str::to_owned);
    let (hash, preimage) = proof(text("payment_hash")?, text("payment_preimage")?)?;
    let out_of_range = |error| Error::corrupt("unpaid invoice", error);
    let key_index = u32::try_from(number("key_index")?).map_err(out_of_range)?;
    let min_cltv = u16::try_from(number("htlc_recv_cltv_delta")?).map_err(out_of_range)?;
    Ok(OpenReceive {
        hash,
        preimage,
        bolt11: text("invoice")?.to_owned(),
        key_index,
        min_cltv: BlockDelta::new(min_cltv),
        token: optional("anti_dos_token"),
        destination: optional("claim_destination"),
    })
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
