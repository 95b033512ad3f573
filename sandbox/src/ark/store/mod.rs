//! The server's store: SQLite, in RAM or in a directory; changes are committed before a call is answered (docs/protocol.md §32.12).
//!
//! Calls block for as long as SQLite needs. That is microseconds here, and keeps every change a single transaction without an
//! await inside, so that a cancelled request has changed everything or nothing.

pub mod attempt;
mod ledger;
pub mod mailbox;
mod meta;
pub mod participation;
pub mod pool;
pub mod receive;
pub mod round;
pub mod tx;
pub mod vtxo;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use attempt::{Attempt, AttemptStatus};
pub use ledger::{Ledger, Total};
pub use mailbox::{DeliveryKind, Page};
pub use participation::Participation;
pub use receive::{Receive, ReceiveStatus};
pub use round::Round;
pub use tx::TxKind;
pub use vtxo::{ServerRecord, VtxoRecord, VtxoState};

/// File name inside the directory.
const FILE: &str = "arkserver.sqlite";

/// The database.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the database in `directory`, which must exist, or a fresh one in RAM.
    pub fn open(directory: Option<&Path>) -> anyhow::Result<Store> {
        let connection = match directory {
            Some(directory) => {
                let path = directory.join(FILE);
                let connection = Connection::open(&path)
                    .with_context(|| format!("cannot open {}", path.display()))?;
                connection.pragma_update(None, "journal_mode", "WAL")?;
                connection.pragma_update(None, "synchronous", "FULL")?;
                connection
            }
            None => Connection::open_in_memory()?,
        };
        connection.pragma_update(None, "foreign_keys", true)?;
        let store = Store {
            connection: Mutex::new(connection),
        };
        store.write(|tx| {
            let exists: bool = tx.query_row(
                "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'vtxo')",
                [],
                |row| row.get(0),
            )?;
            if !exists {
                tx.execute_batch(include_str!("schema.sql"))?;
            }
            tx.execute_batch(include_str!("lightning.sql"))?;
            tx.execute_batch(include_str!("watchman.sql"))?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Runs `change` in one transaction: when this returns, all its changes are durable or, after an error, none.
    pub fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut connection = self.lock();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = change(&tx)?;
        tx.commit()?;
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back, so the connection is consistent.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
