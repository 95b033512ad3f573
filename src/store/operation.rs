//! The operation table (docs/protocol.md §2.3).

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::news::Body;
use super::{Error, WriteTx, movement};
use crate::model::{
    EventKind, OperationId, OperationKind, OperationProgress, OperationRow, Outcome,
};

const COLUMNS: &str = "id, kind, state, wake_at, attempts, last_error, outcome";

fn kind(name: &str) -> Result<OperationKind, Error> {
    OperationKind::from_name(name).ok_or_else(|| Error::corrupt("operation kind", name))
}

fn operation(row: &Row<'_>) -> Result<OperationRow, Error> {
    let outcome = match row.get::<_, Option<String>>(6)?.as_deref() {
        None => None,
        Some("done") => Some(Outcome::Done),
        Some(_) => Some(Outcome::Failed),
    };
    Ok(OperationRow {
        id: OperationId::from(row.get::<_, String>(0)?),
        kind: kind(&row.get::<_, String>(1)?)?,
        state: row.get(2)?,
        wake_at: row.get(3)?,
        attempts: row.get(4)?,
        last_error: row.get(5)?,
        outcome,
    })
}

/// Inserts a new operation.
pub fn insert(
    tx: &WriteTx<'_>,
    id: &OperationId,
    kind: OperationKind,
    state: &str,
    now: i64,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO operation (id, kind, state, created_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![id.as_str(), kind.name(), state, now])?;
    report(tx, id);
    Ok(())
}

/// Reports an operation that has begun, has another state, or has ended.
fn report(tx: &WriteTx<'_>, id: &OperationId) {
    tx.report(
        EventKind::OperationUpdated,
        id.to_string(),
        Body::AtTheEnd(json),
    );
}

/// What the outside may know of an operation. Its state holds keys and signatures, so only the name of the state is part of it.
fn json(connection: &Connection, id: &str) -> Result<Option<String>, Error> {
    let id = OperationId::from(id.to_owned());
    let columns: Option<(String, String, Option<String>)> = connection
        .prepare_cached("SELECT kind, state, outcome FROM operation WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((kind, state, outcome)) = columns else {
        return Ok(None);
    };
    let progress = OperationProgress {
        kind,
        step: name_of(&state).to_owned(),
        outcome,
        movement: movement::id_of_operation(connection, &id)?,
        id,
    };
    let json = serde_json::to_string(&progress);
    json.map(Some)
        .map_err(|error| Error::corrupt("operation", error))
}

/// The name of a state: its JSON is `"Name"` or `{"Name":…}`.
fn name_of(state: &str) -> &str {
    let json = state.strip_prefix('{').unwrap_or(state);
    let name = json
        .strip_prefix('"')
        .and_then(|json| json.split('"').next());
    name.unwrap_or_default()
}

/// Moves a running operation to its next state, due at `wake_at` (unix milliseconds) or at once.
pub fn advance(
    tx: &WriteTx<'_>,
    id: &OperationId,
    state: &str,
    wake_at: Option<i64>,
) -> Result<(), Error> {
    let sql = "UPDATE operation SET state = ?2, wake_at = ?3, attempts = 0, last_error = NULL
               WHERE id = ?1 AND finished_at IS NULL";
    let changed = tx
        .prepare_cached(sql)?
        .execute(params![id.as_str(), state, wake_at])?;
    report(tx, id);
    expect_one(changed, id)
}

/// Puts a running operation to sleep until `wake_at` (unix milliseconds); `error` is the reason of a failed attempt.
pub fn sleep(
    tx: &WriteTx<'_>,
    id: &OperationId,
    wake_at: i64,
    error: Option<&str>,
) -> Result<(), Error> {
    let sql =
        "UPDATE operation SET wake_at = ?2, last_error = ?3, attempts = attempts + (?3 IS NOT NULL)
               WHERE id = ?1 AND finished_at IS NULL";
    expect_one(
        tx.prepare_cached(sql)?
            .execute(params![id.as_str(), wake_at, error])?,
        id,
    )
}

/// Clears the failures of the current step, which now waits for an event without having failed again.
pub fn recover(tx: &WriteTx<'_>, id: &OperationId) -> Result<(), Error> {
    let sql = "UPDATE operation SET wake_at = NULL, attempts = 0, last_error = NULL
               WHERE id = ?1 AND finished_at IS NULL";
    expect_one(tx.prepare_cached(sql)?.execute(params![id.as_str()])?, id)
}

/// Finishes a running operation.
pub fn finish(
    tx: &WriteTx<'_>,
    id: &OperationId,
    outcome: Outcome,
    error: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
    };
    let sql = "UPDATE operation SET outcome = ?2, last_error = ?3, finished_at = ?4 WHERE id = ?1 AND finished_at IS NULL";
    let changed = tx
        .prepare_cached(sql)?
        .execute(params![id.as_str(), outcome, error, now])?;
    report(tx, id);
    expect_one(changed, id)
}

/// Deletes a finished operation, so that another one can have its id.
pub fn forget(tx: &WriteTx<'_>, id: &OperationId) -> Result<(), Error> {
    let sql = "DELETE FROM operation WHERE id = ?1 AND finished_at IS NOT NULL";
    tx.prepare_cached(sql)?.execute([id.as_str()])?;
    Ok(())
}

fn expect_one(rows: usize, id: &OperationId) -> Result<(), Error> {
    if rows == 1 {
        Ok(())
    } else {
        Err(Error::Conflict(format!("operation {id} is not running")))
    }
}

/// The operation with this id.
pub fn get(connection: &Connection, id: &OperationId) -> Result<Option<OperationRow>, Error> {
    let row = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM operation WHERE id = ?1"))?
        .query_row([id.as_str()], |row| Ok(operation(row)))
        .optional()?;
    row.transpose()
}

/// The operations of a kind that have not succeeded, and those whose state contains `text`, oldest first.
pub fn search(
    connection: &Connection,
    kind: OperationKind,
    text: &str,
) -> Result<Vec<OperationRow>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operation WHERE kind = ?1 AND (outcome IS NOT 'done' OR instr(state, ?2) > 0)
         ORDER BY created_at, id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([kind.name(), text])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(operation(row)?);
    }
    Ok(found)
}

/// Every operation that is not finished, oldest first.
pub fn unfinished(connection: &Connection) -> Result<Vec<OperationRow>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operation WHERE finished_at IS NULL ORDER BY created_at, id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(operation(row)?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_state_only_the_name_is_shown() {
        assert_eq!(name_of(r#""Start""#), "Start");
        assert_eq!(name_of(r#"{"Claim":{"preimage":"00"}}"#), "Claim");
        for no_state in ["", "{}", "[1]", "7", "null"] {
            assert_eq!(name_of(no_state), "", "{no_state}");
        }
    }
}
