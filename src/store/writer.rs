//! The writer thread and its group commit.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::news::{Body, News};
use super::outbox::Outbox;
use super::{Error, LiveVtxos, uncertain};
use crate::model::{Event, EventKind, VtxoRecord};

/// How many writes may share one commit.
const MAX_BATCH: usize = 256;

/// An open write transaction. Reads through it see its own writes.
pub struct WriteTx<'c> {
    connection: &'c Connection,
    effects: Effects,
    /// What the running write has changed.
    news: News,
    #[cfg(feature = "failpoints")]
    commit_failure: Option<uncertain::CommitFailure>,
}

/// What becomes visible to readers in memory once the transaction is durable.
#[derive(Default)]
struct Effects {
    changed: Vec<Arc<VtxoRecord>>,
    events: Vec<Event>,
}

impl WriteTx<'_> {
    /// Registers a changed VTXO row; the snapshot gets it once the transaction is durable.
    pub(super) fn vtxo_changed(&mut self, record: Arc<VtxoRecord>) {
        self.effects.changed.push(record);
    }

    /// Reports a change, which makes an event at the end of this write.
    pub(super) fn report(&self, kind: EventKind, subject: String, body: Body) {
        self.news.report(kind, subject, body);
    }

    /// Writes the events of the running write.
    fn append_events(&mut self) -> Result<(), Error> {
        let events = self.news.append(self.connection)?;
        self.effects.events.extend(events);
        Ok(())
    }

    /// Makes the commit of this transaction fail.
    #[cfg(feature = "failpoints")]
    pub(crate) fn fail_commit(&mut self, failure: uncertain::CommitFailure) {
        self.commit_failure = Some(failure);
    }
}

impl Deref for WriteTx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// A queued write.
trait Job: Send {
    /// Runs the body. False means that its savepoint has to be rolled back.
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool;
    /// Sends the result to the caller, after the commit.
    fn settle(self: Box<Self>, commit: Result<(), Error>);
}

struct WriteJob<T, E, F> {
    body: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Job for WriteJob<T, E, F>
where
    F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool {
        let Some(body) = self.body.take() else {
            return false;
        };
        let work = || {
            let value = body(tx)?;
            tx.append_events()?;
            Ok(value)
        };
        self.outcome = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(outcome) => Some(outcome),
            Err(_) => {
                tracing::error!("database write panicked; rolled back");
                None
            }
        };
        matches!(self.outcome, Some(Ok(_)))
    }

    fn settle(self: Box<Self>, commit: Result<(), Error>) {
        let answer = match (self.outcome, commit) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(error.into()),
            (None, Ok(())) => Err(Error::Closed.into()),
        };
        // The caller may have stopped waiting; the write is committed all the same.
        let _ = self.reply.send(answer);
    }
}

/// The writer thread and its queue.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        live: Arc<ArcSwap<LiveVtxos>>,
        outbox: Arc<Outbox>,
    ) -> Result<Writer, Error> {
        let (queue, jobs) = mpsc::channel(4 * MAX_BATCH);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(&connection, jobs, &live, &outbox))
            .map_err(|_| Error::Closed)?;
        Ok(Writer {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(WriteJob {
            body: Some(body),
            outcome: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        queue.send(job).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.take();
        // A closure in the writer thread may hold the last handle, and a thread cannot join itself.
        if let Some(thread) = self
            .thread
            .take()
            .filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

fn run(
    connection: &Connection,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
    live: &ArcSwap<LiveVtxos>,
    outbox: &Outbox,
) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            match jobs.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        match commit(connection, &mut batch) {
            Ok(Effects { changed, events }) => {
                if !changed.is_empty() {
                    live.store(Arc::new(live.load().with(changed)));
                }
                if !events.is_empty() {
                    outbox.publish(events);
                }
                batch.into_iter().for_each(|job| job.settle(Ok(())));
            }
            Err(cause) => {
                tracing::error!(%cause, "database write failed and was rolled back");
                for job in batch {
                    job.settle(Err(Error::unwritten(&cause)));
                }
            }
        }
    }
}

/// Runs a batch in one transaction, and returns what it changed.
///
/// # Errors
/// The transaction is rolled back, on disk too. If the disk may hold it all the same, the process ends.
fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<Effects> {
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
    let mut tx = WriteTx {
        connection: &transaction,
        effects: Effects::default(),
        news: News::default(),
        #[cfg(feature = "failpoints")]
        commit_failure: None,
    };
    for job in batch {
        let kept = (tx.effects.changed.len(), tx.effects.events.len());
        tx.execute_batch("SAVEPOINT job")?;
        let keep = job.run(&mut tx);
        // A full or broken disk makes SQLite roll back the whole transaction, with the writes that ran before. A further statement
        // would commit by itself.
        if tx.is_autocommit() {
            return Err(rolled_back());
        }
        if !keep {
            tx.effects.changed.truncate(kept.0);
            tx.effects.events.truncate(kept.1);
            tx.news.forget();
            tx.execute_batch("ROLLBACK TO job")?;
        }
        tx.execute_batch("RELEASE job")?;
    }
    // Writes the pages to the log, without the mark of a commit: what the disk refuses, it refuses before the commit.
    tx.cache_flush()?;
    let effects = std::mem::take(&mut tx.effects);
    #[cfg(feature = "failpoints")]
    if let Some(failure) = tx.commit_failure {
        failure.happen(transaction);
    }
    match transaction.commit() {
        Ok(()) => Ok(effects),
        // The page with the mark of the commit did not fit, so there is no commit. What fails after it, the sync of the log and the
        // growth of its index, has other codes.
        Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::DiskFull) => Err(cause),
        Err(cause) => uncertain::end_process(&cause),
    }
}

/// The error of a transaction that a failed statement has rolled back.
fn rolled_back() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK),
        Some("a statement failed, and SQLite rolled back all writes of the commit".into()),
    )
}
