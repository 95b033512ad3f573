//! A failed commit of which only the disk knows whether it holds.
//!
//! When the sync of the log fails, the transaction may be on disk or not, and asking the log says nothing, because the kernel answers
//! from memory. Whatever this process did next could contradict the disk. So it ends, and the next start takes up what the disk says.

/// The process's exit code after a commit whose outcome is not known: `EX_IOERR` of sysexits.h.
const EXIT_CODE: i32 = 74;

/// Ends the process, without another step of any operation.
pub(super) fn end_process(cause: &rusqlite::Error) -> ! {
    tracing::error!(%cause, exit_code = EXIT_CODE, "a database commit failed, and only the disk knows whether it holds; ending, so that the next start reads the disk");
    std::process::exit(EXIT_CODE)
}

/// How a test makes a commit fail.
#[cfg(feature = "failpoints")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommitFailure {
    /// The disk does not have the transaction.
    Lost,
    /// The disk has the transaction.
    Kept,
}

#[cfg(feature = "failpoints")]
impl CommitFailure {
    /// Ends the transaction as the disk would, and the process.
    pub(super) fn happen(self, transaction: rusqlite::Transaction<'_>) -> ! {
        let ended = match self {
            CommitFailure::Lost => transaction.rollback(),
            CommitFailure::Kept => transaction.commit(),
        };
        assert!(ended.is_ok(), "the disk is sound: {ended:?}");
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        end_process(&rusqlite::Error::SqliteFailure(code, None))
    }
}
