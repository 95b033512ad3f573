//! Mailboxes: messages under checkpoints that increase over all mailboxes (docs/protocol.md §31.7).

use std::collections::BTreeSet;

use anyhow::Context;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::{ProtocolEncoding, VtxoId};
use prost::Message;
use rusqlite::{Transaction, params};
use server_rpc::protos::mailbox_server::{MailboxMessage, mailbox_message};

use super::Store;

/// The kind of a delivered item; each id is delivered once per kind, over all mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryKind {
    /// A VTXO sent by another wallet.
    Arkoor,
    /// A VTXO id kept for recovery.
    Recovery,
}

impl DeliveryKind {
    fn as_str(self) -> &'static str {
        match self {
            DeliveryKind::Arkoor => "arkoor",
            DeliveryKind::Recovery => "recovery",
        }
    }
}

/// Messages in the order of their checkpoints.
#[derive(Debug)]
pub struct Page {
    /// The last one can lack a part of its VTXOs, which no page after it has.
    pub messages: Vec<MailboxMessage>,
    /// Whether there are as many messages as a page has rows. A page that is full with fewer messages has more after it, too.
    pub have_more: bool,
}

impl Store {
    /// The `ids` that no mailbox has received yet.
    pub fn undelivered(
        &self,
        kind: DeliveryKind,
        ids: &BTreeSet<VtxoId>,
    ) -> anyhow::Result<BTreeSet<VtxoId>> {
        let connection = self.lock();
        let mut known = connection
            .prepare("SELECT EXISTS (SELECT 1 FROM delivery WHERE kind = ?1 AND vtxo = ?2)")?;
        let mut fresh = BTreeSet::new();
        for id in ids {
            let values = params![kind.as_str(), id.to_bytes()];
            if !known.query_row(values, |row| row.get::<_, bool>(0))? {
                fresh.insert(*id);
            }
        }
        Ok(fresh)
    }

    /// Stores a message that delivers `ids` and returns its checkpoint.
    pub fn deliver(
        &self,
        mailbox: MailboxIdentifier,
        kind: DeliveryKind,
        ids: &BTreeSet<VtxoId>,
        message: mailbox_message::Message,
    ) -> anyhow::Result<u64> {
        self.write(|tx| {
            for id in ids {
                tx.execute(
                    "INSERT OR IGNORE INTO delivery (mailbox, kind, vtxo) VALUES (?1, ?2, ?3)",
                    params![mailbox.serialize(), kind.as_str(), id.to_bytes()],
                )?;
            }
            insert(tx, mailbox, message)
        })
    }

    /// The messages after `checkpoint`, up to `limit` rows. A message has a row for each of its VTXOs, so a page can end within it.
    pub fn read_mailbox(
        &self,
        mailbox: MailboxIdentifier,
        checkpoint: u64,
        limit: u32,
    ) -> anyhow::Result<Page> {
        let after = i64::try_from(checkpoint).unwrap_or(i64::MAX);
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT checkpoint, message FROM mailbox
             WHERE mailbox = ?1 AND checkpoint > ?2 ORDER BY checkpoint LIMIT ?3",
        )?;
        let rows = statement.query_map(
            params![mailbox.serialize(), after, i64::from(limit)],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )?;
        let mut messages = Vec::new();
        let mut left = limit as usize;
        for row in rows {
            let (checkpoint, bytes) = row?;
            let mut message =
                MailboxMessage::decode(&*bytes).context("stored message is broken")?;
            message.checkpoint = u64::try_from(checkpoint).context("negative checkpoint")?;
            left -= cut(&mut message, left);
            messages.push(message);
            if left == 0 {
                break;
            }
        }
        let have_more = messages.len() >= limit as usize;
        Ok(Page {
            messages,
            have_more,
        })
    }
}

/// Leaves at most `rows` VTXOs in a message; returns the rows that it has then.
fn cut(message: &mut MailboxMessage, rows: usize) -> usize {
    let items = match &mut message.message {
        Some(mailbox_message::Message::Arkoor(arkoor)) => &mut arkoor.vtxos,
        Some(mailbox_message::Message::RecoveryVtxoIds(recovery)) => &mut recovery.vtxo_ids,
        _ => return 1,
    };
    items.truncate(rows);
    items.len()
}

/// Adds a message and returns its checkpoint.
pub fn insert(
    tx: &Transaction<'_>,
    mailbox: MailboxIdentifier,
    message: mailbox_message::Message,
) -> anyhow::Result<u64> {
    let message = MailboxMessage {
        checkpoint: 0, // filled in from the row when it is read
        message: Some(message),
    };
    tx.execute(
        "INSERT INTO mailbox (mailbox, message) VALUES (?1, ?2)",
        params![mailbox.serialize(), message.encode_to_vec()],
    )?;
    u64::try_from(tx.last_insert_rowid()).context("negative checkpoint")
}
