//! Operations: everything that moves money in more than one write.
//!
//! An operation is a row with a typed state. One task per unfinished operation takes its steps: a step reads the state,
//! makes one remote call, or a few that can all be repeated, and answers what to write. The executor writes that together with the
//! next state in one transaction, so a process that dies anywhere leaves a state whose step can be taken again. Nothing else recovers: a
//! restart loads the unfinished rows and drives them on.
//!
//! ```text
//!            start ──▶ [state] ──step──▶ Commit ──▶ [next state] … ──▶ done | failed
//!                        │ ▲
//!                        │ └── wait: the next block, a new connection, a nudge, the back-off in the row
//!                        └──▶ error: nothing written but the reason and the time of the next try
//! ```
//!
//! A request starts an operation and waits for its outcome for a while. The operation does not belong to the request: a
//! client that hangs up changes nothing.

pub(in crate::wallet) mod clock;
pub(in crate::wallet) mod commit_point;
mod driver;
pub(in crate::wallet) mod encoding;
mod registry;
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
pub(in crate::wallet) use driver::{back_off, enlist, resume};
pub(in crate::wallet) use registry::{Progress, Registry, answer};

/// What one kind of operation does; implemented by its state type.
pub(in crate::wallet) trait Flow:
    Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
    /// The kind in the operation table.
    const KIND: OperationKind;

    /// Takes the step of this state. It may be taken any number of times.
    ///
    /// # Errors
    /// A passing failure: the step is taken again later. What can never work is no error but a [`Step::Commit`] to
    /// [`Next::Failed`].
    fn step(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
    ) -> impl Future<Output = Result<Step<Self>>> + Send;

    /// Whether the caller who started the operation can have its answer in this state already.
    fn answers_caller(&self) -> bool;
}

/// Failures in a row after which an operation that the server cannot know of yet is given up.
const MAX_FAILURES: u32 = 3;

/// How often the step of the present state was taken before.
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

/// What a step leads to.
pub(in crate::wallet) enum Step<F> {
    /// Write this, and go on.
    Commit {
        /// The name of the write.
        point: CommitPoint,
        /// Where it leads.
        next: Next<F>,
        /// What is written beside the operation itself, in the same transaction.
        writes: Writes,
    },
    /// Nothing to do before the next block.
    AwaitBlock,
    /// Nothing to do before the server's rounds go on, there is a block, or this time has passed.
    AwaitRound(Duration),
}

/// Where a commit leads.
pub(in crate::wallet) enum Next<F> {
    /// To another state.
    State(F),
    /// To another state, whose step is not due before this time has passed.
    Later(F, Duration),
    /// To the good end.
    Done,
    /// To the bad end, for this reason; the writes must have set free or accounted for all that the operation held.
    Failed(Error),
}

/// Rows that go with a step.
pub(in crate::wallet) type Writes = Box<dyn FnOnce(&mut WriteTx<'_>) -> Result<()> + Send>;

impl<F> Step<F> {
    /// A write under a name.
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

/// How an operation stands when its caller gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Answer {
    /// It is done, or far enough for the caller.
    Complete,
    /// It is safely stored and goes on by itself.
    Pending,
}

impl Wallet {
    /// Writes a new operation with all that belongs to its start, and drives it on from there.
    ///
    /// `body` runs in the transaction and answers the first state. What comes back follows the operation.
    pub(in crate::wallet) async fn start<F: Flow>(
        self: &Arc<Wallet>,
        id: OperationId,
        point: CommitPoint,
        body: impl FnOnce(&mut WriteTx<'_>, &OperationId) -> Result<F> + Send + 'static,
    ) -> Result<watch::Receiver<Progress>> {
        let wallet = Arc::clone(self);
        // On a task of its own: from the commit on, somebody must drive it, also when the caller is gone by then.
        let task = tokio::spawn(async move { driver::start(wallet, id, point, body).await });
        task.await.map_err(Error::internal)?
    }
}
