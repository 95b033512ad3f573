//! The errors of the store.

use std::path::PathBuf;

/// A failure of the database, or data in it that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed.
    #[error("the wallet database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("the wallet database could not be upgraded: {0}")]
    Migration(#[from] rusqlite_migration::Error),
    /// The file could not be created or read.
    #[error("{path} cannot be opened: {source}")]
    File {
        /// The database file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file is another program's database.
    #[error("{path} belongs to another program; choose another --datadir or move the file away")]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file was written by a newer release.
    #[error("{path} was written by a newer arkwalletd; start that release instead")]
    TooNew {
        /// The database file.
        path: PathBuf,
    },
    /// A stored value does not decode.
    #[error("the wallet database holds a damaged {what}: {detail}")]
    Corrupt {
        /// Which kind of value.
        what: &'static str,
        /// Why it does not decode.
        detail: String,
    },
    /// A row that must change is not in the state it must have.
    #[error("{0}")]
    Conflict(String),
    /// The database is closed, or a write panicked.
    #[error("the wallet database is closed")]
    Closed,
}

impl Error {
    /// A stored value that does not decode.
    pub fn corrupt(what: &'static str, detail: impl ToString) -> Error {
        Error::Corrupt {
            what,
            detail: detail.to_string(),
        }
    }
}
