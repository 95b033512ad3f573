//! The invoices of the wallet (docs/protocol.md §4.7). A row is written before its invoice leaves the process, and stays.

use ark_lib::lightning::{PaymentHash, Preimage};
use bitcoin::Amount;
use bitcoin_ext::BlockDelta;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, WriteTx};
use crate::model::{Invoice, InvoiceEnd, InvoiceOutcome};

const COLUMNS: &str = "payment_hash, preimage, invoice, amount, fee, key_index, min_cltv, token, destination, external_id,
     created_at, expires_at, accepted_at, ended_at, outcome, reason";

fn invoice(row: &Row<'_>) -> Result<Invoice, Error> {
    let bytes = |index| -> Result<[u8; 32], Error> { Ok(row.get(index)?) };
    let end = match row.get::<_, Option<String>>(14)? {
        None => None,
        Some(name) => Some(InvoiceEnd {
            at: row.get(13)?,
            outcome: InvoiceOutcome::from_name(&name)
                .ok_or_else(|| Error::corrupt("outcome of an invoice", name))?,
            reason: row.get(15)?,
        }),
    };
    Ok(Invoice {
        hash: PaymentHash::from(bytes(0)?),
        preimage: Preimage::from(bytes(1)?),
        bolt11: row.get(2)?,
        amount: Amount::from_sat(row.get(3)?),
        fee: Amount::from_sat(row.get(4)?),
        key_index: row.get(5)?,
        min_cltv: BlockDelta::new(row.get(6)?),
        token: row.get(7)?,
        destination: row.get(8)?,
        external_id: row.get(9)?,
        created_at: row.get(10)?,
        expires_at: row.get(11)?,
        accepted_at: row.get(12)?,
        end,
    })
}

/// Inserts a new invoice, which has not ended.
pub fn insert(tx: &WriteTx<'_>, invoice: &Invoice) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO lightning_receive (payment_hash, preimage, invoice, amount, fee, key_index, min_cltv, token, destination,
             external_id, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        invoice.hash.as_ref(),
        invoice.preimage.as_ref(),
        invoice.bolt11,
        invoice.amount.to_sat(),
        invoice.fee.to_sat(),
        invoice.key_index,
        invoice.min_cltv.to_u16(),
        invoice.token,
        invoice.destination,
        invoice.external_id,
        invoice.created_at,
        invoice.expires_at,
    ])?;
    Ok(())
}

/// The invoice with this payment hash.
pub fn get(connection: &Connection, hash: PaymentHash) -> Result<Option<Invoice>, Error> {
    let row = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM lightning_receive WHERE payment_hash = ?1"
        ))?
        .query_row([hash.as_ref()], |row| Ok(invoice(row)))
        .optional()?;
    row.transpose()
}

/// The invoices that have not ended, oldest first.
pub fn unfinished(connection: &Connection) -> Result<Vec<Invoice>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM lightning_receive WHERE ended_at IS NULL ORDER BY created_at, payment_hash"
    ))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(invoice(row)?);
    }
    Ok(found)
}

/// Stores that the operation of an invoice is written.
pub fn accept(tx: &WriteTx<'_>, hash: PaymentHash, now: i64) -> Result<(), Error> {
    tx.prepare_cached("UPDATE lightning_receive SET accepted_at = ?2 WHERE payment_hash = ?1")?
        .execute(params![hash.as_ref(), now])?;
    Ok(())
}

/// Ends an invoice; one that has ended is not changed.
pub fn end(
    tx: &WriteTx<'_>,
    hash: PaymentHash,
    outcome: InvoiceOutcome,
    reason: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    tx.prepare_cached(
        "UPDATE lightning_receive SET ended_at = ?2, outcome = ?3, reason = ?4
         WHERE payment_hash = ?1 AND ended_at IS NULL",
    )?
    .execute(params![hash.as_ref(), now, outcome.name(), reason])?;
    Ok(())
}

/// What the poll has to know of an invoice.
#[derive(Clone, Copy, Debug)]
pub struct OpenInvoice {
    /// The payment hash.
    pub hash: PaymentHash,
    /// When it was made, unix milliseconds.
    pub created_at: i64,
    /// From when on no payment is accepted, unix milliseconds.
    pub expires_at: i64,
}

/// The invoices for which no payment is known, oldest first.
pub fn open(connection: &Connection) -> Result<Vec<OpenInvoice>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT payment_hash, created_at, expires_at FROM lightning_receive
         WHERE ended_at IS NULL AND accepted_at IS NULL ORDER BY created_at",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(OpenInvoice {
            hash: PaymentHash::from(row.get::<_, [u8; 32]>(0)?),
            created_at: row.get(1)?,
            expires_at: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn invoices_that_have_ended_are_not_read_with_the_open_ones() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db.sqlite")).unwrap();
        let written = store.write(|tx| {
            for number in 1..=3 {
                let preimage = Preimage::from([number; 32]);
                let invoice = Invoice {
                    hash: preimage.compute_payment_hash(),
                    preimage,
                    bolt11: format!("lnbcrt{number}"),
                    amount: Amount::from_sat(1_000),
                    fee: Amount::ZERO,
                    key_index: 0,
                    min_cltv: BlockDelta::new(60),
                    token: None,
                    destination: None,
                    external_id: Some(number.to_string()),
                    created_at: i64::from(10 - number),
                    expires_at: 100,
                    accepted_at: None,
                    end: None,
                };
                insert(tx, &invoice)?;
                if number == 1 {
                    end(tx, invoice.hash, InvoiceOutcome::Settled, None, 20)?;
                    end(tx, invoice.hash, InvoiceOutcome::Expired, None, 30)?;
                    let settled = get(tx, invoice.hash)?.and_then(|it| it.end);
                    let first = settled.map(|end| (end.at, end.outcome));
                    assert_eq!(first, Some((20, InvoiceOutcome::Settled)));
                }
            }
            let names: Vec<_> = unfinished(tx)?
                .into_iter()
                .filter_map(|it| it.external_id)
                .collect();
            assert_eq!(names, ["3", "2"], "oldest first");
            assert_eq!(open(tx)?.len(), 2);
            let plan: String = tx.query_row(
                "EXPLAIN QUERY PLAN SELECT invoice FROM lightning_receive WHERE ended_at IS NULL ORDER BY created_at, payment_hash",
                [],
                |row| row.get(3),
            )?;
            assert!(plan.contains("lightning_receive_unfinished"), "{plan}");
            Ok::<_, Error>(())
        });
        written.await.unwrap();
    }
}
