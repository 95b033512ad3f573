//! Requests with an idempotency key: what they began, and their answers (docs/protocol.md §23.0.1).
//!
//! A row expires some time after the request, but not before the operation has ended that it began and the same time has
//! passed since.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, WriteTx};
use crate::model::{Effect, KeptAnswer, KeptRequest, MovementId, OperationId, RequestKey};

/// Whether a row has expired; `?1` is the time before which rows do.
const EXPIRED: &str = "created_at < ?1 AND NOT EXISTS (
    SELECT 1 FROM operation
    WHERE operation.id = idempotency_key.operation AND (finished_at IS NULL OR finished_at >= ?1))";

/// How many expired rows are deleted with each new one.
const SWEPT_AT_ONCE: u32 = 20;

/// Writes what a request begins, in the transaction that begins it. What the same request began before, and what failed, is replaced.
/// `before` is the time before which rows expire; both times are unix milliseconds.
///
/// # Errors
/// [`Error::Conflict`] if the key belongs to another request.
pub fn bind(
    tx: &WriteTx<'_>,
    key: &RequestKey,
    effect: &Effect,
    now: i64,
    before: i64,
) -> Result<(), Error> {
    make_room(tx, key, before)?;
    let text =
        serde_json::to_string(effect).map_err(|error| Error::corrupt("request effect", error))?;
    let sql = "INSERT INTO idempotency_key (key, request, operation, receive, effect, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (key) DO UPDATE
        SET operation = ?3, receive = ?4, effect = ?5, failure = NULL, status = NULL, body = NULL
        WHERE request = ?2";
    let written = tx.prepare_cached(sql)?.execute(params![
        key.key,
        key.request,
        effect.operation().map(OperationId::as_str),
        effect.receive().map(OperationId::as_str),
        text,
        now
    ])?;
    expect_own(written)?;
    for operation in effect.moving() {
        tx.prepare_cached(
            "INSERT INTO idempotency_movement (key, movement)
             SELECT ?1, id FROM movement WHERE operation = ?2 ON CONFLICT DO NOTHING",
        )?
        .execute([key.key.as_str(), operation.as_str()])?;
    }
    Ok(())
}

/// Keeps the answer of a request, also if it began nothing. The times are those of [`bind`].
///
/// # Errors
/// [`Error::Conflict`] if the key belongs to another request.
pub fn keep_answer(
    tx: &WriteTx<'_>,
    key: &RequestKey,
    answer: &KeptAnswer,
    now: i64,
    before: i64,
) -> Result<(), Error> {
    make_room(tx, key, before)?;
    let sql = "INSERT INTO idempotency_key (key, request, status, body, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (key) DO UPDATE SET status = ?3, body = ?4, failure = NULL WHERE request = ?2";
    let written = tx.prepare_cached(sql)?.execute(params![
        key.key,
        key.request,
        answer.status,
        answer.body,
        now
    ])?;
    expect_own(written)
}

/// Notes why an operation failed, for the requests that began it and have no answer yet.
pub fn note_failure(tx: &WriteTx<'_>, operation: &OperationId, failure: &str) -> Result<(), Error> {
    let sql = "UPDATE idempotency_key SET failure = ?2
        WHERE operation = ?1 AND status IS NULL AND failure IS NULL";
    tx.prepare_cached(sql)?
        .execute([operation.as_str(), failure])?;
    Ok(())
}

/// What is known of a key; `None` also if that has expired, with `before` as in [`bind`].
pub fn find(connection: &Connection, key: &str, before: i64) -> Result<Option<KeptRequest>, Error> {
    let sql = format!(
        "SELECT request, effect, failure, status, body FROM idempotency_key WHERE key = ?2 AND NOT ({EXPIRED})"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(params![before, key], |row| Ok(kept(row)))
        .optional()?
        .transpose()
}

fn kept(row: &Row<'_>) -> Result<KeptRequest, Error> {
    let effect: Option<String> = row.get(1)?;
    let effect = effect.map(|text| serde_json::from_str(&text)).transpose();
    let status: Option<u16> = row.get(3)?;
    let body: Option<String> = row.get(4)?;
    Ok(KeptRequest {
        request: row.get(0)?,
        effect: effect.map_err(|error| Error::corrupt("request effect", error))?,
        failure: row.get(2)?,
        answer: status
            .zip(body)
            .map(|(status, body)| KeptAnswer { status, body }),
    })
}

/// The newest movement that a request began.
pub fn newest_movement(connection: &Connection, key: &str) -> Result<Option<MovementId>, Error> {
    let sql = "SELECT max(movement) FROM idempotency_movement WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let newest: Option<u32> = statement.query_row([key], |row| row.get(0))?;
    Ok(newest.map(MovementId))
}

/// Deletes the row of this key if it has expired, and some others that have.
fn make_room(tx: &WriteTx<'_>, key: &RequestKey, before: i64) -> Result<(), Error> {
    let own = format!("DELETE FROM idempotency_key WHERE key = ?2 AND {EXPIRED}");
    tx.prepare_cached(&own)?.execute(params![before, key.key])?;
    let others = format!(
        "DELETE FROM idempotency_key WHERE key IN (
            SELECT key FROM idempotency_key WHERE {EXPIRED} ORDER BY created_at LIMIT ?2)"
    );
    tx.prepare_cached(&others)?
        .execute([before, SWEPT_AT_ONCE.into()])?;
    Ok(())
}

fn expect_own(written: usize) -> Result<(), Error> {
    match written {
        1 => Ok(()),
        _ => Err(Error::Conflict(
            "the idempotency key belongs to another request".into(),
        )),
    }
}
