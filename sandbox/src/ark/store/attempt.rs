//! Attempts to pay Lightning invoices, and the preimages that prove payments (docs/protocol.md §32.7).

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::{ProtocolEncoding, VtxoId};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Store;

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptStatus {
    /// Its end is not known.
    Open,
    /// The payee has the money.
    Succeeded,
    /// The payee does not get it by this attempt.
    Failed,
}

/// An attempt to pay an invoice.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number; later ones are higher.
    pub number: i64,
    /// The payment hash.
    pub hash: PaymentHash,
    /// The invoice, BOLT11 or BOLT12.
    pub invoice: String,
    /// What the payer asked to pay, in sat.
    pub amount_sat: u64,
    /// The lowest expiry height of its HTLCs.
    pub htlc_expiry: u32,
    /// The payer's mailbox.
    pub mailbox: Option<MailboxIdentifier>,
    /// When it began, since 1970.
    pub started: Duration,
    /// Whether the payee is a client of this server.
    pub linked: bool,
    /// How it stands.
    pub status: AttemptStatus,
    /// Why it failed, as JSON.
    pub reason: Option<String>,
}

const COLUMNS: &str =
    "number, hash, invoice, amount_sat, htlc_expiry, mailbox, started_ms, linked, status, reason";

impl Store {
    /// The latest attempt with this hash, whoever made it.
    pub fn latest_attempt(&self, hash: PaymentHash) -> anyhow::Result<Option<Attempt>> {
        latest(&self.lock(), hash)
    }

    /// The open attempts, oldest first.
    pub fn open_attempts(&self) -> anyhow::Result<Vec<Attempt>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "SELECT {COLUMNS} FROM ln_attempt WHERE status = 'open' ORDER BY number"
        ))?;
        let rows = statement.query_map([], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The preimage of a hash, once the server knows it.
    pub fn settlement(&self, hash: PaymentHash) -> anyhow::Result<Option<Preimage>> {
        settlement(&self.lock(), hash)
    }
}

/// Like [`Store::latest_attempt`], inside a transaction.
pub fn latest(
    connection: &rusqlite::Connection,
    hash: PaymentHash,
) -> anyhow::Result<Option<Attempt>> {
    connection
        .query_row(
            &format!(
                "SELECT {COLUMNS} FROM ln_attempt WHERE hash = ?1 ORDER BY number DESC LIMIT 1"
            ),
            [hash.to_vec()],
            |row| Ok(read(row)),
        )
        .optional()?
        .transpose()
}

/// Like [`Store::settlement`], inside a transaction.
pub fn settlement(
    connection: &rusqlite::Connection,
    hash: PaymentHash,
) -> anyhow::Result<Option<Preimage>> {
    let preimage: Option<[u8; 32]> = connection
        .query_row(
            "SELECT preimage FROM ln_settlement WHERE hash = ?1",
            [hash.to_vec()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(preimage.map(Preimage::from))
}

/// Stores an open attempt and returns its number. Fails if one with the same hash is open.
pub fn insert(tx: &Transaction<'_>, attempt: &Attempt, htlcs: &[VtxoId]) -> anyhow::Result<i64> {
    ensure!(
        attempt.status == AttemptStatus::Open,
        "an attempt starts open"
    );
    tx.execute(
        "INSERT INTO ln_attempt
             (hash, invoice, amount_sat, htlc_expiry, mailbox, started_ms, linked, status)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open')",
        params![
            attempt.hash.to_vec(),
            attempt.invoice,
            attempt.amount_sat,
            attempt.htlc_expiry,
            attempt.mailbox.map(|mailbox| mailbox.serialize()),
            millis(attempt.started)?,
            attempt.linked,
        ],
    )?;
    let number = tx.last_insert_rowid();
    for htlc in htlcs {
        tx.execute(
            "INSERT INTO ln_attempt_htlc (attempt, vtxo) VALUES (?1, ?2)",
            params![number, htlc.to_bytes()],
        )?;
    }
    Ok(number)
}

/// Marks an open attempt as failed; false if it is not open any more.
pub fn mark_failed(
    tx: &Transaction<'_>,
    number: i64,
    reason: Option<&str>,
) -> anyhow::Result<bool> {
    let changed = tx.execute(
        "UPDATE ln_attempt SET status = 'failed', reason = ?2 WHERE number = ?1 AND status = 'open'",
        params![number, reason],
    )?;
    Ok(changed == 1)
}

/// Stores a preimage that the server learns now.
pub fn insert_settlement(
    tx: &Transaction<'_>,
    preimage: Preimage,
    now: Duration,
) -> anyhow::Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO ln_settlement (hash, preimage, learnt_ms) VALUES (?1, ?2, ?3)",
        params![
            preimage.compute_payment_hash().to_vec(),
            preimage.to_vec(),
            millis(now)?,
        ],
    )?;
    Ok(())
}

/// Marks the open attempt of this hash as succeeded, and takes every spendable HTLC of any attempt of the hash: a payer whose own
/// attempt failed, and who has not revoked, loses his HTLCs, too.
pub fn mark_succeeded(tx: &Transaction<'_>, hash: PaymentHash) -> anyhow::Result<()> {
    tx.execute(
        "UPDATE ln_attempt SET status = 'succeeded' WHERE hash = ?1 AND status = 'open'",
        [hash.to_vec()],
    )?;
    tx.execute(
        "UPDATE vtxo SET state = 'ln-spent' WHERE state = 'spendable' AND id IN
             (SELECT vtxo FROM ln_attempt_htlc JOIN ln_attempt ON number = attempt WHERE hash = ?1)",
        [hash.to_vec()],
    )?;
    Ok(())
}

/// Whole milliseconds, as the database keeps times.
pub(super) fn millis(time: Duration) -> anyhow::Result<i64> {
    i64::try_from(time.as_millis()).context("time out of range")
}

fn read(row: &Row<'_>) -> anyhow::Result<Attempt> {
    let mailbox: Option<Vec<u8>> = row.get("mailbox")?;
    let mailbox = mailbox.map(|bytes| MailboxIdentifier::deserialize(&bytes));
    Ok(Attempt {
        number: row.get("number")?,
        hash: PaymentHash::from(row.get::<_, [u8; 32]>("hash")?),
        invoice: row.get("invoice")?,
        amount_sat: row.get("amount_sat")?,
        htlc_expiry: row.get("htlc_expiry")?,
        mailbox: mailbox.transpose().context("stored mailbox is broken")?,
        started: Duration::from_millis(row.get("started_ms")?),
        linked: row.get("linked")?,
        status: match row.get::<_, String>("status")?.as_str() {
            "open" => AttemptStatus::Open,
            "succeeded" => AttemptStatus::Succeeded,
            "failed" => AttemptStatus::Failed,
            other => return Err(anyhow!("unknown state {other} of an attempt")),
        },
        reason: row.get("reason")?,
    })
}
