//! The engine that runs operations: whatever moves money in more than one write (docs/protocol.md §2.3).
//!
//! An operation is a row with a typed state. One task per unfinished operation runs its steps: a step reads the state,
//! makes one remote call, or a few that can all be repeated, and returns what to write. The driver writes that together with
//! the next state in one transaction, so a process that dies at any moment leaves a state whose step can be run again. A restart
//! loads the unfinished rows and drives them; there is no other recovery code.
//!
//! ```text
//!            start ──▶ [state] ──step──▶ Commit ──▶ [next state] … ──▶ done | failed
//!                        │ ▲
//!                        │ └── wait: the next block, a new connection, a nudge, the back-off in the row
//!                        └──▶ error: only the reason and the time of the next try are written
//! ```
//!
//! A request starts an operation and waits for its outcome for a limited time. The operation belongs to the engine: a client that
//! disconnects changes nothing.

pub(in crate::wallet) mod attention;
pub(in crate::wallet) mod clock;
pub(in crate::wallet) mod commit_point;
mod driver;
pub(in crate::wallet) mod encoding;
mod registry;
pub(in crate::wallet) mod request_key;
pub(in crate::wallet) mod steps;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::store::WriteTx;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

pub use crate::model::{OperationId, OperationKind};
pub(in crate::wallet) use driver::{back_off, enlist, replace, resume, state_of};
pub(in crate::wallet) use registry::{Progress, Registry, answer};

/// What one kind of operation does; implemented by its state type.
pub(in crate::wallet) trait Flow:
    Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
    /// The kind in the operation table.
    const KIND: OperationKind;

    /// Runs the step of this state. It may be run any number of times.
    ///
    /// # Errors
    /// A temporary failure: the step is run again later. A permanent failure is a [`Step::Commit`] to [`Next::Failed`].
    fn step(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
    ) -> impl Future<Output = Result<Step<Self>>> + Send;

    /// Whether the caller who started the operation gets its answer in this state.
    fn answers_caller(&self) -> bool;
}

/// Failures in a row after which an operation that the server cannot know of yet is given up.
const MAX_FAILURES: u32 = 3;

/// How often the step of the current state was run before.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::wallet) struct Tries {
    /// Failures of this step, also before a restart.
    pub failed: u32,
    /// Whether an earlier try may have reached the server: a try failed, or the process was restarted in this state.
    pub earlier: bool,
}

impl Tries {
    /// Whether an operation that the server cannot know of yet should be given up.
    pub(in crate::wallet) fn exhausted(self) -> bool {
        self.failed >= MAX_FAILURES
    }
}

/// The result of a step.
pub(in crate::wallet) enum Step<F> {
    /// Write this, and continue.
    Commit {
        /// The commit point.
        point: CommitPoint,
        /// The state after the commit.
        next: Next<F>,
        /// What is written beside the operation's row, in the same transaction.
        writes: Writes,
    },
    /// Wait for the next block.
    AwaitBlock,
    /// Wait for a round event or a block, at most this long.
    AwaitRound(Duration),
    /// Wait for a nudge or a block, at most this long.
    AwaitNudge(Duration),
}

/// What follows a commit.
pub(in crate::wallet) enum Next<F> {
    /// Another state.
    State(F),
    /// Another state, whose step runs after a pause.
    Later(F, Duration),
    /// The operation is finished with success.
    Done,
    /// The operation has failed, for this reason. The writes release or account for everything that it held.
    Failed(Error),
}

/// The writes of a step.
pub(in crate::wallet) type Writes = Box<dyn FnOnce(&mut WriteTx<'_>) -> Result<()> + Send>;

impl<F> Step<F> {
    /// A commit.
    pub(in crate::wallet) fn commit(
        point: CommitPoint,
        next: Next<F>,
        writes: impl FnOnce(&mut WriteTx<'_>) -> Result<()> + Send + 'static,
    ) -> Step<F> {
        Step::Commit {
            point,
            next,
            writes: Box::new(writes),
        }
    }
}

/// The state of an operation when its caller gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Answer {
    /// It is done, or has reached the state that the caller waits for.
    Complete,
    /// It is stored and continues by itself.
    Pending,
}

impl Wallet {
    /// Writes a new operation with everything that belongs to its start, and drives it.
    ///
    /// `body` runs in the transaction and returns the first state; it has written the movement then. The operation is bound to the
    /// [key](request_key) of the request that starts it. The receiver follows the operation's progress.
    pub(in crate::wallet) async fn start<F: Flow>(
        self: &Arc<Wallet>,
        id: OperationId,
        point: CommitPoint,
        body: impl FnOnce(&mut WriteTx<'_>, &OperationId) -> Result<F> + Send + 'static,
    ) -> Result<watch::Receiver<Progress>> {
        let (wallet, key) = (Arc::clone(self), request_key::current());
        // In a task of its own: after the commit the operation has to be driven even if the caller is gone.
        let task = tokio::spawn(async move { driver::start(wallet, id, point, key, body).await });
        task.await.map_err(Error::internal)?
    }
}
