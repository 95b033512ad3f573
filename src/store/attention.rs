//! What waits for a decision of the operator.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::news::Body;
use super::{Error, WriteTx};
use crate::model::{Attention, EventKind};

/// Writes a fact. Returns false, and only renews its texts, when it is there already.
pub fn raise(tx: &WriteTx<'_>, attention: &Attention, now: i64) -> Result<bool, Error> {
    let Attention {
        code,
        subject,
        message,
        what_to_do,
    } = attention;
    let renewed = tx
        .prepare_cached(
            "UPDATE attention SET message = ?3, what_to_do = ?4 WHERE code = ?1 AND subject = ?2",
        )?
        .execute(params![code, subject, message, what_to_do])?;
    if renewed == 0 {
        tx.prepare_cached(
            "INSERT INTO attention (code, subject, message, what_to_do, raised_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![code, subject, message, what_to_do, now])?;
        report(tx, EventKind::AttentionRaised, attention)?;
    }
    Ok(renewed == 0)
}

/// Deletes a fact whose cause is gone. Returns whether it was there.
pub fn clear(tx: &WriteTx<'_>, code: &str, subject: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM attention WHERE code = ?1 AND subject = ?2
               RETURNING code, subject, message, what_to_do";
    let cleared = tx
        .prepare_cached(sql)?
        .query_row([code, subject], fact)
        .optional()?;
    if let Some(cleared) = &cleared {
        report(tx, EventKind::AttentionCleared, cleared)?;
    }
    Ok(cleared.is_some())
}

fn report(tx: &WriteTx<'_>, kind: EventKind, fact: &Attention) -> Result<(), Error> {
    let json = serde_json::to_string(fact).map_err(|error| Error::corrupt("attention", error))?;
    tx.report(kind, fact.code.clone(), Body::Now(json));
    Ok(())
}

fn fact(row: &Row<'_>) -> rusqlite::Result<Attention> {
    Ok(Attention {
        code: row.get(0)?,
        subject: row.get(1)?,
        message: row.get(2)?,
        what_to_do: row.get(3)?,
    })
}

/// Whether a fact is raised.
pub fn is_raised(connection: &Connection, code: &str, subject: &str) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM attention WHERE code = ?1 AND subject = ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([code, subject], |row| row.get(0))?)
}

/// The subjects of the facts with this code that were raised before a time (unix milliseconds).
pub fn raised_before(connection: &Connection, code: &str, time: i64) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT subject FROM attention WHERE code = ?1 AND raised_at < ?2 ORDER BY subject",
    )?;
    let rows = statement.query_map(params![code, time], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All facts, oldest first.
pub fn list(connection: &Connection) -> Result<Vec<Attention>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT code, subject, message, what_to_do FROM attention ORDER BY raised_at, code, subject",
    )?;
    let rows = statement.query_map([], fact)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
