//! The network's database: SQLite, in RAM or in a directory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rusqlite::Connection;

/// File name inside the directory.
const FILE: &str = "lightning.sqlite";

/// The database.
pub(super) struct Store(Mutex<Connection>);

impl Store {
    pub(super) fn open(directory: Option<&Path>) -> anyhow::Result<Store> {
        let connection = match directory {
            Some(directory) => {
                let path = directory.join(FILE);
                let connection = Connection::open(&path)
                    .with_context(|| format!("cannot open {}", path.display()))?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection
            }
            None => Connection::open_in_memory()?,
        };
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Store(Mutex::new(connection)))
    }

    /// Each change is one statement, so no transaction is open when a panic poisons the lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole milliseconds, as the database keeps times.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
