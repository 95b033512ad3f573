//! The wallet's SQLite database: one writer thread, many readers, and a snapshot of the live VTXOs for hot reads.
//!
//! A write is a closure that runs in the writer thread; [`Store::write`] returns when its transaction is durable. Writes that
//! arrive while the disk is busy share the next commit, each in a savepoint of its own, so one that fails does not roll back
//! the others. All SQL lives in this module's files, one per group of tables; the rest of the program sees typed rows.

pub mod anchor;
pub mod attention;
pub mod barkd;
pub mod error;
pub mod event;
pub mod exit;
pub mod idempotency;
pub mod key;
pub mod lightning_receive;
pub mod lightning_send;
pub mod mailbox;
pub mod movement;
mod news;
pub mod onchain;
mod open;
pub mod operation;
mod outbox;
mod reader;
pub mod recovery;
mod snapshot;
#[cfg(test)]
mod tests;
mod uncertain;
pub mod vtxo;
pub mod vtxo_body;
pub mod wallet;
pub mod webhook;
mod writer;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use error::Error;
pub use snapshot::LiveVtxos;
#[cfg(feature = "failpoints")]
pub(crate) use uncertain::CommitFailure;
pub use writer::WriteTx;

use crate::model::{Event, EventId};

/// A handle to the open database. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Store {
    // Dropped before the writer, whose connection copies the write-ahead log into the database if it is closed last.
    readers: Arc<reader::Readers>,
    writer: Arc<writer::Writer>,
    live: Arc<ArcSwap<LiveVtxos>>,
    outbox: Arc<outbox::Outbox>,
}

impl Store {
    /// Opens the database at `path`, creates it (mode 0600) when there is none, and brings its schema up to date.
    ///
    /// A file that belongs to another program is refused and left untouched.
    ///
    /// # Errors
    /// [`Error::Foreign`] and [`Error::TooNew`] for a file of another program or a newer release, otherwise SQLite's own error.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let connection = open::writable(path)?;
        let live = Arc::new(ArcSwap::from_pointee(LiveVtxos::new(vtxo::all_live(
            &connection,
        )?)));
        let outbox = Arc::new(outbox::Outbox::new(event::newest(&connection)?));
        let writer = writer::Writer::start(connection, Arc::clone(&live), Arc::clone(&outbox))?;
        let writer = Arc::new(writer);
        let readers = Arc::new(reader::Readers::open(path)?);
        Ok(Store {
            writer,
            readers,
            live,
            outbox,
        })
    }

    /// The identity of the wallet in the database at `path`; `None` if there is no file, or no wallet in it. Only reads.
    ///
    /// # Errors
    /// [`Error::Foreign`] for a file of another program, otherwise SQLite's own error.
    pub fn owner(path: &Path) -> Result<Option<wallet::WalletRow>, Error> {
        open::owner(path)
    }

    /// Undoes a commit that was interrupted while the database at `path`, which is certainly our own, was created.
    ///
    /// # Errors
    /// SQLite's own error.
    pub fn roll_back(path: &Path) -> Result<(), Error> {
        open::roll_back(path)
    }

    /// Runs `body` in the writer thread. Returns its result once the transaction is durable.
    ///
    /// When `body` fails, everything that it wrote is rolled back. It runs to completion even if the caller stops waiting.
    ///
    /// # Errors
    /// What `body` returns; [`Error::DiskFull`] or [`Error::Unwritable`] when the disk refuses it, and then nothing is written. A commit
    /// whose outcome is not known ends the process.
    pub async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.writer.write(body).await
    }

    /// Runs `body` on a read-only connection, off the async threads.
    ///
    /// # Errors
    /// What `body` returns, or a store error when the database is closed.
    pub async fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        F: FnOnce(&rusqlite::Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.readers.read(body).await
    }

    /// The VTXOs that are not spent, as of the last commit. Takes no lock and touches no disk.
    pub fn live_vtxos(&self) -> Arc<LiveVtxos> {
        self.live.load_full()
    }

    /// The number of the newest event that is durable.
    pub fn newest_event(&self) -> watch::Receiver<EventId> {
        self.outbox.newest()
    }

    /// The events that follow `cursor`, oldest first, at most `limit`: from memory if they are new, otherwise from the disk. If the first
    /// one is not the next one, those between were pruned.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn events_after(
        &self,
        cursor: EventId,
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, Error> {
        match self.outbox.after(cursor, limit) {
            Some(events) => Ok(events),
            None => {
                self.read(move |connection| event::after(connection, cursor, limit))
                    .await
            }
        }
    }
}
