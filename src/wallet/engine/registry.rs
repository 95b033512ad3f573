//! The operations that run in this process: their kinds and progress, and how to wake and stop them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{OperationId, OperationKind};
use crate::wallet::{Error, Result};

use super::Answer;

/// The progress of an operation.
#[derive(Clone, Debug)]
pub(in crate::wallet) enum Progress {
    /// Running.
    Working,
    /// Running, and the caller can have its answer.
    Answerable,
    /// Finished with success.
    Done,
    /// Finished without success.
    Failed(Error),
}

struct Running {
    kind: OperationKind,
    /// The last nudge after which it waits again.
    rested: watch::Receiver<u64>,
}

/// The channels through which a driver reports.
pub(super) struct Reports {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) rested: watch::Sender<u64>,
}

/// The running operations of one wallet.
pub(in crate::wallet) struct Registry {
    running: Mutex<HashMap<OperationId, Running>>,
    /// Counts the nudges.
    nudges: watch::Sender<u64>,
    pub(super) tasks: TaskTracker,
    pub(super) stopped: CancellationToken,
}

impl Registry {
    pub(in crate::wallet) fn new() -> Registry {
        Registry {
            running: Mutex::new(HashMap::new()),
            nudges: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<OperationId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an operation; `None` when it runs already.
    pub(super) fn enter(&self, id: &OperationId, kind: OperationKind) -> Option<Reports> {
        let mut running = self.running();
        if running.contains_key(id) {
            return None;
        }
        let reports = Reports {
            progress: watch::Sender::new(Progress::Working),
            rested: watch::Sender::new(0),
        };
        running.insert(
            id.clone(),
            Running {
                kind,
                rested: reports.rested.subscribe(),
            },
        );
        Some(reports)
    }

    pub(super) fn leave(&self, id: &OperationId) {
        self.running().remove(id);
    }

    /// The kind of a running operation.
    pub(in crate::wallet) fn kind(&self, id: &OperationId) -> Option<OperationKind> {
        self.running().get(id).map(|running| running.kind)
    }

    /// Wakes every sleeping operation, whatever its back-off, and waits until each one waits again, at most for `patience`.
    pub(in crate::wallet) async fn nudge_all(&self, patience: Duration) {
        self.nudges.send_modify(|nudge| *nudge += 1);
        let nudge = *self.nudges.borrow();
        let rests: Vec<_> = self
            .running()
            .values()
            .map(|running| running.rested.clone())
            .collect();
        let all = rests.into_iter().map(|mut rested| async move {
            // The sender of an operation that has ended is gone: it counts as waiting.
            let _ = rested.wait_for(|rested| *rested >= nudge).await;
        });
        let _ = tokio::time::timeout(patience, futures::future::join_all(all)).await;
    }

    pub(super) fn nudges(&self) -> watch::Receiver<u64> {
        self.nudges.subscribe()
    }

    /// Stops all drivers, and waits until they have stopped.
    pub(in crate::wallet) async fn stop(&self) {
        self.stopped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Waits for an operation's answer, at most for `patience`.
///
/// # Errors
/// The reason for which the operation failed.
pub(in crate::wallet) async fn answer(
    mut progress: watch::Receiver<Progress>,
    patience: Duration,
) -> Result<Answer> {
    let settled = progress.wait_for(|progress| !matches!(progress, Progress::Working));
    match tokio::time::timeout(patience, settled).await {
        Ok(Ok(progress)) => match &*progress {
            Progress::Failed(error) => Err(error.clone()),
            Progress::Working | Progress::Answerable | Progress::Done => Ok(Answer::Complete),
        },
        // The time is over, or the wallet is being closed: the operation continues with the next start.
        Ok(Err(_)) | Err(_) => Ok(Answer::Pending),
    }
}
