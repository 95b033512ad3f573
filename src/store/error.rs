//! The errors of the store.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// A failure of the database, or data in it that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed.
    #[error("the wallet database failed: {0}")]
    Sqlite(rusqlite::Error),
    /// The disk is full. The write changed nothing.
    #[error(
        "the disk with the wallet database is full; nothing was changed. Free space on it, then try again"
    )]
    DiskFull,
    /// The database cannot be written. The write changed nothing.
    #[error("the wallet database cannot be written: {0}")]
    Unwritable(String),
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

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => Error::unwritten(&error),
            _ => Error::Sqlite(error),
        }
    }
}

impl Error {
    /// The error of a write that was rolled back because of `cause`.
    pub(super) fn unwritten(cause: &rusqlite::Error) -> Error {
        match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::DiskFull,
            _ => Error::Unwritable(cause.to_string()),
        }
    }

    /// A stored value that does not decode.
    pub fn corrupt(what: &'static str, detail: impl ToString) -> Error {
        Error::Corrupt {
            what,
            detail: detail.to_string(),
        }
    }
}
