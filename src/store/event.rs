//! The event table: what happened, one row per event, written in the transaction that makes it happen (docs/protocol.md §26.1).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Error;
use crate::model::{Event, EventId, EventKind};

/// Appends an event. Its stamp is the present time, or one nanosecond after the last stamp if the clock is behind that (W23).
pub(super) fn append(
    connection: &Connection,
    kind: EventKind,
    subject: String,
    body: String,
) -> Result<Event, Error> {
    let sql = "INSERT INTO event (stamp, kind, subject, body)
               VALUES (max(?1, coalesce((SELECT max(stamp) FROM event) + 1, 0)), ?2, ?3, ?4) RETURNING id, stamp";
    let now = nanos(Utc::now());
    let (id, stamp) = connection
        .prepare_cached(sql)?
        .query_row(params![now, kind.name(), subject, body], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let stamp = DateTime::from_timestamp_nanos(stamp);
    Ok(Event::new(EventId(id), stamp, kind, subject, body))
}

/// The events that follow `cursor`, oldest first, at most `limit`. If the first one is not the next one, those between were pruned.
pub fn after(
    connection: &Connection,
    cursor: EventId,
    limit: usize,
) -> Result<Vec<Arc<Event>>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, stamp, kind, subject, body FROM event WHERE id > ?1 ORDER BY id LIMIT ?2",
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
        row.get(4)?,
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

/// A time in the unit of the table, unix nanoseconds. Times that it cannot hold count as its ends.
fn nanos(time: DateTime<Utc>) -> i64 {
    let end = if time.timestamp() < 0 {
        i64::MIN
    } else {
        i64::MAX
    };
    time.timestamp_nanos_opt().unwrap_or(end)
}
