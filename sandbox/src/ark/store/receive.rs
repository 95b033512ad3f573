//! Lightning receives: invoices of clients, and the HTLCs that were granted for their payments (docs/protocol.md §32.8).

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use ark_lib::lightning::PaymentHash;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::{ProtocolEncoding, VtxoId};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Store;
use super::attempt::millis;

/// How a receive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveStatus {
    /// The invoice is not paid.
    Created,
    /// The payment is held.
    Accepted,
    /// The HTLCs are granted.
    HtlcsReady,
    /// The payer has the preimage.
    Settled,
    /// It ended without a payment.
    Canceled,
}

const STATUS_NAMES: [(ReceiveStatus, &str); 5] = [
    (ReceiveStatus::Created, "created"),
    (ReceiveStatus::Accepted, "accepted"),
    (ReceiveStatus::HtlcsReady, "htlcs-ready"),
    (ReceiveStatus::Settled, "settled"),
    (ReceiveStatus::Canceled, "canceled"),
];

impl fmt::Display for ReceiveStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STATUS_NAMES.iter().find(|(status, _)| status == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A receive.
#[derive(Debug, Clone)]
pub struct Receive {
    /// The payment hash.
    pub hash: PaymentHash,
    /// What the invoice asks for, in sat.
    pub amount_sat: u64,
    /// The invoice.
    pub invoice: String,
    /// When the invoice expires, since 1970.
    pub expires: Duration,
    /// The payee's mailbox.
    pub mailbox: Option<MailboxIdentifier>,
    /// How it stands.
    pub status: ReceiveStatus,
    /// The lowest expiry height of the incoming HTLCs.
    pub lowest_expiry: Option<u32>,
    /// When the payment was noticed, since 1970.
    pub accepted: Option<Duration>,
    /// Whether the payer is a client of this server.
    pub linked: bool,
    /// The granted HTLCs, in the order of the grant.
    pub htlcs: Vec<VtxoId>,
}

const COLUMNS: &str =
    "hash, amount_sat, invoice, expires_ms, mailbox, status, lowest_expiry, accepted_ms, linked";

impl Store {
    /// The receive with this hash.
    pub fn receive(&self, hash: PaymentHash) -> anyhow::Result<Option<Receive>> {
        find(&self.lock(), hash)
    }

    /// The time from the moment when a payment was noticed to that when its payee revealed the preimage; `None` if it did not.
    pub fn claim_time(&self, hash: PaymentHash) -> anyhow::Result<Option<Duration>> {
        let millis = self
            .lock()
            .query_row(
                "SELECT MAX(learnt_ms - accepted_ms, 0) FROM ln_receive JOIN ln_settlement USING (hash) WHERE hash = ?1",
                [hash.to_vec()],
                |row| row.get::<_, Option<u64>>(0),
            )
            .optional()?;
        Ok(millis.flatten().map(Duration::from_millis))
    }

    /// The receives that may still change.
    pub fn unfinished_receives(&self) -> anyhow::Result<Vec<Receive>> {
        self.select_receives(
            "SELECT hash FROM ln_receive WHERE status NOT IN ('settled', 'canceled') ORDER BY rowid",
        )
    }

    /// The receives that have HTLCs and are not settled, cancelled ones included.
    pub fn granted_receives(&self) -> anyhow::Result<Vec<Receive>> {
        self.select_receives(
            "SELECT hash FROM ln_receive WHERE status <> 'settled'
             AND hash IN (SELECT hash FROM ln_receive_htlc) ORDER BY rowid",
        )
    }

    /// The receives whose preimage is known and that are not settled, in the order in which the preimages came.
    pub fn receives_to_settle(&self) -> anyhow::Result<Vec<Receive>> {
        self.select_receives(
            "SELECT ln_receive.hash FROM ln_receive JOIN ln_settlement USING (hash)
             WHERE status = 'htlcs-ready' ORDER BY number",
        )
    }

    /// The receives whose hashes a query gives.
    fn select_receives(&self, query: &str) -> anyhow::Result<Vec<Receive>> {
        let connection = self.lock();
        let mut statement = connection.prepare(query)?;
        let hashes = statement.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
        let mut receives = Vec::new();
        for hash in hashes {
            receives.extend(find(&connection, PaymentHash::from(hash?))?);
        }
        Ok(receives)
    }
}

/// Like [`Store::receive`], inside a transaction.
pub fn find(
    connection: &rusqlite::Connection,
    hash: PaymentHash,
) -> anyhow::Result<Option<Receive>> {
    let found = connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM ln_receive WHERE hash = ?1"),
            [hash.to_vec()],
            |row| Ok(read(row)),
        )
        .optional()?;
    let Some(receive) = found.transpose()? else {
        return Ok(None);
    };
    let mut statement =
        connection.prepare("SELECT vtxo FROM ln_receive_htlc WHERE hash = ?1 ORDER BY number")?;
    let ids = statement.query_map([hash.to_vec()], |row| {
        row.get::<_, [u8; VtxoId::ENCODE_SIZE]>(0)
    })?;
    let htlcs = ids.map(|id| Ok(VtxoId::from_slice(&id?)?));
    Ok(Some(Receive {
        htlcs: htlcs.collect::<anyhow::Result<_>>()?,
        ..receive
    }))
}

/// Stores a receive whose invoice is not paid.
pub fn insert(tx: &Transaction<'_>, receive: &Receive) -> anyhow::Result<()> {
    tx.execute(
        "INSERT INTO ln_receive (hash, amount_sat, invoice, expires_ms, mailbox, status)
         VALUES (?1, ?2, ?3, ?4, ?5, 'created')",
        params![
            receive.hash.to_vec(),
            receive.amount_sat,
            receive.invoice,
            millis(receive.expires)?,
            receive.mailbox.map(|mailbox| mailbox.serialize()),
        ],
    )?;
    Ok(())
}

/// Marks a created receive as paid by HTLCs that expire at `lowest_expiry` at the earliest; false if it is not created any more.
pub fn mark_accepted(
    tx: &Transaction<'_>,
    hash: PaymentHash,
    lowest_expiry: u32,
    now: Duration,
    linked: bool,
) -> anyhow::Result<bool> {
    let changed = tx.execute(
        "UPDATE ln_receive SET status = 'accepted', lowest_expiry = ?2, accepted_ms = ?3, linked = ?4
         WHERE hash = ?1 AND status = 'created'",
        params![hash.to_vec(), lowest_expiry, millis(now)?, linked],
    )?;
    Ok(changed == 1)
}

/// Moves a receive on.
pub fn set_status(
    tx: &Transaction<'_>,
    hash: PaymentHash,
    status: ReceiveStatus,
) -> anyhow::Result<()> {
    tx.execute(
        "UPDATE ln_receive SET status = ?2 WHERE hash = ?1",
        params![hash.to_vec(), status.to_string()],
    )?;
    Ok(())
}

/// Links granted HTLCs to a receive.
pub fn set_htlcs(tx: &Transaction<'_>, hash: PaymentHash, htlcs: &[VtxoId]) -> anyhow::Result<()> {
    for htlc in htlcs {
        tx.execute(
            "INSERT INTO ln_receive_htlc (hash, vtxo) VALUES (?1, ?2)",
            params![hash.to_vec(), htlc.to_bytes()],
        )?;
    }
    set_status(tx, hash, ReceiveStatus::HtlcsReady)
}

/// Uses up a token; false if it is used already.
pub fn use_token(tx: &Transaction<'_>, token: &str) -> anyhow::Result<bool> {
    let added = tx.execute(
        "INSERT OR IGNORE INTO ln_token (token) VALUES (?1)",
        [token],
    )?;
    Ok(added == 1)
}

/// Records that something is posted about a hash; false if it was posted before.
pub fn note_push(tx: &Transaction<'_>, hash: PaymentHash, kind: &str) -> anyhow::Result<bool> {
    let added = tx.execute(
        "INSERT OR IGNORE INTO ln_push (hash, kind) VALUES (?1, ?2)",
        params![hash.to_vec(), kind],
    )?;
    Ok(added == 1)
}

fn read(row: &Row<'_>) -> anyhow::Result<Receive> {
    let mailbox: Option<Vec<u8>> = row.get("mailbox")?;
    let mailbox = mailbox.map(|bytes| MailboxIdentifier::deserialize(&bytes));
    let status: String = row.get("status")?;
    let accepted: Option<u64> = row.get("accepted_ms")?;
    Ok(Receive {
        hash: PaymentHash::from(row.get::<_, [u8; 32]>("hash")?),
        amount_sat: row.get("amount_sat")?,
        invoice: row.get("invoice")?,
        expires: Duration::from_millis(row.get("expires_ms")?),
        mailbox: mailbox.transpose().context("stored mailbox is broken")?,
        status: STATUS_NAMES
            .iter()
            .find(|(_, name)| *name == status)
            .map(|(status, _)| *status)
            .ok_or_else(|| anyhow!("unknown state {status} of a receive"))?,
        lowest_expiry: row.get("lowest_expiry")?,
        accepted: accepted.map(Duration::from_millis),
        linked: row.get("linked")?,
        htlcs: Vec::new(), // filled in by the caller
    })
}
