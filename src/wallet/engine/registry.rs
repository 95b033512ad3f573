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
    progress: watch::Receiver<Progress>,
    /// Counts the nudges.
    nudges: watch::Sender<u64>,
    /// The last nudge after which it waits again.
    rested: watch::Receiver<u64>,
}

impl Running {
    /// Wakes the operation; returns the number of this nudge.
    fn nudge(&self) -> u64 {
        self.nudges.send_modify(|nudge| *nudge += 1);
        *self.nudges.borrow()
    }
}

/// The channels between a driver and the rest of the wallet.
pub(super) struct Reports {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) nudges: watch::Receiver<u64>,
    pub(super) rested: watch::Sender<u64>,
}

/// The running operations of one wallet.
pub(in crate::wallet) struct Registry {
    running: Mutex<HashMap<OperationId, Running>>,
    pub(super) tasks: TaskTracker,
    pub(super) stopped: CancellationToken,
}

impl Registry {
    pub(in crate::wallet) fn new() -> Registry {
        Registry {
            running: Mutex::new(HashMap::new()),
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
        let nudges = watch::Sender::new(0);
        let reports = Reports {
            progress: watch::Sender::new(Progress::Working),
            nudges: nudges.subscribe(),
            rested: watch::Sender::new(0),
        };
        running.insert(
            id.clone(),
            Running {
                kind,
                progress: reports.progress.subscribe(),
                nudges,
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

    /// The progress of a running operation; `None` when it does not run.
    pub(in crate::wallet) fn progress(
        &self,
        id: &OperationId,
    ) -> Option<watch::Receiver<Progress>> {
        let running = self.running();
        running.get(id).map(|running| running.progress.clone())
    }

    /// Wakes a sleeping operation, whatever its back-off.
    pub(in crate::wallet) fn nudge(&self, id: &OperationId) {
        if let Some(running) = self.running().get(id) {
            running.nudge();
        }
    }

    /// Wakes every sleeping operation, whatever its back-off, and waits until each one waits again, at most for `patience`.
    pub(in crate::wallet) async fn nudge_all(&self, patience: Duration) {
        let rests: Vec<_> = self
            .running()
            .values()
            .map(|running| (running.nudge(), running.rested.clone()))
            .collect();
        until_rested(rests, patience).await;
    }

    /// As [`nudge_all`](Self::nudge_all), for these operations only. Returns whether all of them wait again.
    pub(in crate::wallet) async fn nudge_some(
        &self,
        ids: &[OperationId],
        patience: Duration,
    ) -> bool {
        let rests: Vec<_> = {
            let running = self.running();
            let wanted = ids.iter().filter_map(|id| running.get(id));
            wanted
                .map(|running| (running.nudge(), running.rested.clone()))
                .collect()
        };
        until_rested(rests, patience).await
    }

    /// Cancelled when the drivers have to stop.
    pub(in crate::wallet) fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }

    /// Stops all drivers, and waits until they have stopped.
    pub(in crate::wallet) async fn stop(&self) {
        self.stopped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Waits until each operation waits again after its nudge, at most for `patience`. Returns whether all do.
async fn until_rested(rests: Vec<(u64, watch::Receiver<u64>)>, patience: Duration) -> bool {
    let all = rests.into_iter().map(|(nudge, mut rested)| async move {
        // The sender of an operation that has ended is gone: it counts as waiting.
        let _ = rested.wait_for(|rested| *rested >= nudge).await;
    });
    let all = futures::future::join_all(all);
    tokio::time::timeout(patience, all).await.is_ok()
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
