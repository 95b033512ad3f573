//! Lightning payments that were begun, and the preimages that prove them (docs/protocol.md §4.6, H2).

use ark_lib::lightning::{Invoice, PaymentHash, Preimage};
use bitcoin::Amount;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, WriteTx};
use crate::model::LightningSendRow;

fn payment(row: &Row<'_>) -> Result<LightningSendRow, Error> {
    let invoice: String = row.get(0)?;
    let preimage: Option<[u8; 32]> = row.get(2)?;
    Ok(LightningSendRow {
        invoice: invoice
            .parse::<Invoice>()
            .map_err(|error| Error::corrupt("Lightning invoice", error))?,
        amount: Amount::from_sat(row.get(1)?),
        preimage: preimage.map(Preimage::from),
    })
}

/// The payment of this hash, if one was ever begun.
pub fn get(connection: &Connection, hash: PaymentHash) -> Result<Option<LightningSendRow>, Error> {
    connection
        .prepare_cached(
            "SELECT invoice, amount, preimage FROM lightning_send WHERE payment_hash = ?1",
        )?
        .query_row([hash.as_ref()], |row| Ok(payment(row)))
        .optional()?
        .transpose()
}

/// Stores that a payment begins; one that failed is begun again.
pub fn begin(tx: &WriteTx<'_>, invoice: &Invoice, amount: Amount, now: i64) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO lightning_send (payment_hash, invoice, amount, created_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (payment_hash) DO UPDATE SET invoice = excluded.invoice, amount = excluded.amount",
    )?
    .execute(params![
        invoice.payment_hash().as_ref(),
        invoice.to_string(),
        amount.to_sat(),
        now
    ])?;
    Ok(())
}

/// Stores the preimage of a payment that was begun; returns whether one was. The caller has compared it with the hash.
pub fn set_preimage(
    tx: &WriteTx<'_>,
    hash: PaymentHash,
    preimage: Preimage,
) -> Result<bool, Error> {
    let set = tx
        .prepare_cached("UPDATE lightning_send SET preimage = ?2 WHERE payment_hash = ?1")?
        .execute(params![hash.as_ref(), preimage.as_ref()])?;
    Ok(set == 1)
}
