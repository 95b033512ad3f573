//! The event table: one row for each thing that happened (docs/protocol.md §26.1). `news.rs` appends the rows.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row};

use super::news::{Body, nanos};
use super::{Error, WriteTx};
use crate::model::{Event, EventId, EventKind};

/// Reports that something happened that no other table has, such as the loss of a connection.
pub fn tell(tx: &WriteTx<'_>, kind: EventKind) {
    tx.report(kind, String::new(), Body::Now("null".to_owned()));
}

/// The events that follow `cursor`, oldest first, at most `limit`. If the first one is not the next one, those between were pruned.
pub fn after(
    connection: &Connection,
    cursor: EventId,
    limit: usize,
) -> Result<Vec<Arc<Event>>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, stamp, kind, body FROM event WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let cursor = i64::try_from(cursor.0).unwrap_or(i64::MAX);
    let mut rows = statement.query([cursor, limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(Arc::new(event(row)?));
    }
    Ok(events)
}

fn event(row: &Row<'_>) -> Result<Event, Error> {
    let kind: String = row.get(2)?;
    let kind = EventKind::from_name(&kind).ok_or_else(|| Error::corrupt("event kind", kind))?;
    Ok(Event::new(
        EventId(row.get(0)?),
        DateTime::from_timestamp_nanos(row.get(1)?),
        kind,
        row.get(3)?,
    ))
}

/// The newest event; 0 when there is none yet.
pub fn newest(connection: &Connection) -> Result<EventId, Error> {
    let id = connection
        .prepare_cached("SELECT max(id) FROM event")?
        .query_row([], |row| row.get::<_, Option<u64>>(0))?;
    Ok(EventId(id.unwrap_or_default()))
}

/// The number before that of the oldest event that is kept.
pub fn before_oldest(connection: &Connection) -> Result<EventId, Error> {
    let id = connection
        .prepare_cached("SELECT min(id) FROM event")?
        .query_row([], |row| row.get::<_, Option<u64>>(0))?;
    Ok(EventId(id.unwrap_or(1).saturating_sub(1)))
}

/// The newest event whose stamp is not after `time`.
pub fn at(connection: &Connection, time: DateTime<Utc>) -> Result<Option<EventId>, Error> {
    Ok(connection
        .prepare_cached("SELECT id FROM event WHERE stamp <= ?1 ORDER BY stamp DESC LIMIT 1")?
        .query_row([nanos(time)], |row| row.get(0).map(EventId))
        .optional()?)
}

/// Deletes the oldest events: those before `time`, and those of which `rows` newer ones are kept; at most `limit`. The newest one always
/// stays, because its number and its stamp precede those of the next. Returns how many are deleted.
pub fn prune(tx: &WriteTx<'_>, time: DateTime<Utc>, rows: u64, limit: u64) -> Result<usize, Error> {
    let newest = newest(tx)?.0;
    let (before_oldest, expired) = (before_oldest(tx)?.0, at(tx, time)?.unwrap_or_default().0);
    let last = expired
        .max(newest.saturating_sub(rows))
        .min(newest.saturating_sub(1))
        .min(before_oldest.saturating_add(limit));
    Ok(tx
        .prepare_cached("DELETE FROM event WHERE id <= ?1")?
        .execute([last])?)
}
