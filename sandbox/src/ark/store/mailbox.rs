//! Mailboxes: messages under checkpoints that increase over all mailboxes (docs/protocol.md §31.7).

use std::collections::BTreeSet;

use anyhow::Context;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::{ProtocolEncoding, VtxoId};
use prost::Message;
use rusqlite::{Transaction, params};
use server_rpc::protos::mailbox_server::{MailboxMessage, mailbox_message};

use super::Store;

/// What a delivered item is, so that the same id can be delivered once per kind.
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
    /// At most as many as asked for.
    pub messages: Vec<MailboxMessage>,
    /// Whether there are more after the last one.
    pub have_more: bool,
}

impl Store {
    /// Those of `ids` that this mailbox has not received yet.
    pub fn undelivered(
        &self,
        mailbox: MailboxIdentifier,
        kind: DeliveryKind,
        ids: &BTreeSet<VtxoId>,
    ) -> anyhow::Result<BTreeSet<VtxoId>> {
        let connection = self.lock();
        let mut known = connection.prepare(
            "SELECT EXISTS (SELECT 1 FROM delivery WHERE mailbox = ?1 AND kind = ?2 AND vtxo = ?3)",
        )?;
        let mut fresh = BTreeSet::new();
        for id in ids {
            let values = params![mailbox.serialize(), kind.as_str(), id.to_bytes()];
            if !known.query_row(values, |row| row.get::<_, bool>(0))? {
                fresh.insert(*id);
            }
        }
        Ok(fresh)
    }

    /// Stores a message that brings `ids` and returns its checkpoint.
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

    /// Up to `limit` messages after `checkpoint`.
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
            params![mailbox.serialize(), after, i64::from(limit) + 1],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )?;
        let mut messages = Vec::new();
        for row in rows {
            let (checkpoint, bytes) = row?;
            let mut message =
                MailboxMessage::decode(&*bytes).context("stored message is broken")?;
            message.checkpoint = u64::try_from(checkpoint).context("negative checkpoint")?;
            messages.push(message);
        }
        let have_more = messages.len() > limit as usize;
        messages.truncate(limit as usize);
        Ok(Page {
            messages,
            have_more,
        })
    }
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
