//! Webhooks and the log of their deliveries (docs/protocol.md §26.6).

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, WriteTx};
use crate::model::{
    Delivery, EventId, EventKind, Failing, Progress, Webhook, WebhookId, WebhookSecret,
};

/// How many tries the log of a webhook has at most.
const LOG_LENGTH: u64 = 1000;

const COLUMNS: &str = "id, url, description, kinds, secret, old_secret, old_secret_until, cursor, revision, enabled, failures,
    failing_since, next_try_at, last_error, lost, created_at";

/// All webhooks, oldest first.
pub fn list(connection: &Connection) -> Result<Vec<Webhook>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM webhook ORDER BY created_at, id");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| Ok(webhook(row)))?;
    rows.map(|row| row?).collect()
}

/// A webhook; `None` if there is none with this id.
pub fn get(connection: &Connection, id: &WebhookId) -> Result<Option<Webhook>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM webhook WHERE id = ?1");
    connection
        .prepare_cached(&sql)?
        .query_row([id.as_str()], |row| Ok(webhook(row)))
        .optional()?
        .transpose()
}

fn webhook(row: &Row<'_>) -> Result<Webhook, Error> {
    let kinds: String = row.get(3)?;
    let old_secret: Option<Vec<u8>> = row.get(5)?;
    let failing = match row.get(11)? {
        None => None,
        Some(since) => Some(Failing {
            failures: row.get(10)?,
            since,
            next_try_at: row.get::<_, Option<i64>>(12)?.unwrap_or(since),
            error: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
        }),
    };
    Ok(Webhook {
        id: WebhookId::from(row.get::<_, String>(0)?),
        url: row.get(1)?,
        description: row.get(2)?,
        kinds: kinds
            .split_terminator(',')
            .map(kind)
            .collect::<Result<_, _>>()?,
        secret: secret(row.get(4)?)?,
        old_secret: match old_secret {
            None => None,
            Some(bytes) => Some((secret(bytes)?, row.get(6)?)),
        },
        revision: row.get(8)?,
        progress: Progress {
            enabled: row.get(9)?,
            cursor: EventId(row.get(7)?),
            failing,
        },
        lost: row.get(14)?,
        created_at: row.get(15)?,
    })
}

fn kind(name: &str) -> Result<EventKind, Error> {
    EventKind::from_name(name).ok_or_else(|| Error::corrupt("kind of events", name))
}

fn secret(bytes: Vec<u8>) -> Result<WebhookSecret, Error> {
    WebhookSecret::from_bytes(bytes).ok_or_else(|| Error::corrupt("webhook secret", "its length"))
}

/// Writes a new webhook, or what a person has changed.
pub fn put(tx: &WriteTx<'_>, webhook: &Webhook) -> Result<(), Error> {
    let Webhook { progress, .. } = webhook;
    let kinds: Vec<&str> = webhook.kinds.iter().map(|kind| kind.name()).collect();
    let old = webhook.old_secret.as_ref();
    let failing = progress.failing.as_ref();
    tx.prepare_cached(
        "INSERT INTO webhook (id, url, description, kinds, secret, old_secret, old_secret_until, cursor, revision, enabled, failures,
             failing_since, next_try_at, last_error, lost, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         ON CONFLICT (id) DO UPDATE SET url = ?2, description = ?3, kinds = ?4, secret = ?5, old_secret = ?6, old_secret_until = ?7,
             cursor = ?8, revision = ?9, enabled = ?10, failures = ?11, failing_since = ?12, next_try_at = ?13, last_error = ?14, lost = ?15",
    )?
    .execute(params![
        webhook.id.as_str(),
        webhook.url,
        webhook.description,
        kinds.join(","),
        webhook.secret.bytes(),
        old.map(|(secret, _)| secret.bytes()),
        old.map(|(_, until)| until),
        progress.cursor.0,
        webhook.revision,
        progress.enabled,
        failing.map_or(0, |failing| failing.failures),
        failing.map(|failing| failing.since),
        failing.map(|failing| failing.next_try_at),
        failing.map(|failing| &failing.error),
        webhook.lost,
        webhook.created_at,
    ])?;
    Ok(())
}

/// Writes how far a webhook has got, and that it has lost this many events more. Returns false, and writes nothing, if a person has changed
/// or deleted it since it was read.
pub fn advance(
    tx: &WriteTx<'_>,
    webhook: &Webhook,
    progress: &Progress,
    lost: u64,
) -> Result<bool, Error> {
    let failing = progress.failing.as_ref();
    let written = tx
        .prepare_cached(
            "UPDATE webhook SET cursor = ?3, enabled = ?4, failures = ?5, failing_since = ?6, next_try_at = ?7, last_error = ?8,
                 lost = lost + ?9
             WHERE id = ?1 AND revision = ?2",
        )?
        .execute(params![
            webhook.id.as_str(),
            webhook.revision,
            progress.cursor.0,
            progress.enabled,
            failing.map_or(0, |failing| failing.failures),
            failing.map(|failing| failing.since),
            failing.map(|failing| failing.next_try_at),
            failing.map(|failing| &failing.error),
            lost,
        ])?;
    Ok(written == 1)
}

/// Deletes a webhook with its log. Returns whether it was there.
pub fn delete(tx: &WriteTx<'_>, id: &WebhookId) -> Result<bool, Error> {
    tx.execute(
        "DELETE FROM webhook_delivery WHERE webhook = ?1",
        [id.as_str()],
    )?;
    let deleted = tx.execute("DELETE FROM webhook WHERE id = ?1", [id.as_str()])?;
    Ok(deleted == 1)
}

/// Adds a try to the log, which keeps the last [`LOG_LENGTH`]. Returns its number. Writes nothing if the webhook is deleted.
pub fn log(tx: &WriteTx<'_>, id: &WebhookId, delivery: &Delivery) -> Result<u64, Error> {
    let number: Option<u64> = tx
        .prepare_cached(
            "INSERT INTO webhook_delivery (webhook, number, event, attempt, status, latency, error, at)
             SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM webhook_delivery WHERE webhook = ?1), ?2, ?3, ?4, ?5, ?6, ?7
             FROM webhook WHERE id = ?1 RETURNING number",
        )?
        .query_row(
            params![
                id.as_str(),
                delivery.event.map(|event| event.0),
                delivery.attempt,
                delivery.status,
                u64::try_from(delivery.latency.as_millis()).unwrap_or(u64::MAX),
                delivery.error,
                delivery.at,
            ],
            |row| row.get(0),
        )
        .optional()?;
    let number = number.unwrap_or_default();
    tx.prepare_cached("DELETE FROM webhook_delivery WHERE webhook = ?1 AND number <= ?2")?
        .execute(params![id.as_str(), number.saturating_sub(LOG_LENGTH)])?;
    Ok(number)
}

/// The tries of a webhook before one of them, newest first, at most `limit`.
pub fn deliveries(
    connection: &Connection,
    id: &WebhookId,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT number, event, attempt, status, latency, error, at FROM webhook_delivery
         WHERE webhook = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
    )?;
    let before = before.and_then(|number| i64::try_from(number).ok());
    let before = before.unwrap_or(i64::MAX);
    let rows = statement.query_map(params![id.as_str(), before, limit], |row| {
        Ok(Delivery {
            number: row.get(0)?,
            event: row.get::<_, Option<u64>>(1)?.map(EventId),
            attempt: row.get(2)?,
            status: row.get(3)?,
            latency: Duration::from_millis(row.get(4)?),
            error: row.get(5)?,
            at: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
