//! The task that runs an operation's steps.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tracing::Instrument;

use crate::model::{Effect, OperationId, OperationRow, Outcome, RequestKey};
use crate::store::{self, WriteTx};
use crate::store::{idempotency, operation, recovery};
use crate::wallet::engine::{clock, request_key};
use crate::wallet::error::Failure;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

use super::registry::Reports;
use super::{Flow, Next, Progress, Step, Tries, Writes};

/// The longest wait between two tries of a step.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// Drives an unfinished row, which an earlier run of the process or another transaction wrote.
pub(in crate::wallet) fn resume<F: Flow>(wallet: &Arc<Wallet>, row: &OperationRow) -> Result<()> {
    let Some(reports) = wallet.operations.enter(&row.id, F::KIND) else {
        return Ok(());
    };
    // One that cannot be read stays registered, so that the balance counts what it holds.
    let state: F = state_of(row)?;
    tracing::info!(operation = %row.id, kind = ?row.kind, "resuming operation");
    Driver {
        wallet: Arc::clone(wallet),
        id: row.id.clone(),
        state,
        tries: Tries {
            failed: row.attempts,
            earlier: true,
        },
        reports,
    }
    .launch(row.wake_at);
    Ok(())
}

/// Writes a new operation, bound to the key of the request that starts it, and drives it.
pub(super) async fn start<F: Flow>(
    wallet: Arc<Wallet>,
    id: OperationId,
    point: CommitPoint,
    key: Option<RequestKey>,
    body: impl FnOnce(&mut WriteTx<'_>, &OperationId) -> Result<F> + Send + 'static,
) -> Result<watch::Receiver<Progress>> {
    let taken = || {
        Error::conflict(
            "operation_exists",
            format!("operation {id} is running already; wait for it to finish"),
        )
    };
    let reports = wallet.operations.enter(&id, F::KIND).ok_or_else(taken)?;
    let row_id = id.clone();
    let written = wallet
        .commit(point, move |tx| {
            if F::KIND.spends_vtxos() && recovery::holds_spends(tx)? {
                return Err(recovering());
            }
            let state = body(tx, &row_id)?;
            operation::insert(tx, &row_id, F::KIND, &encode(&state)?, clock::now_millis())?;
            request_key::bind(tx, key.as_ref(), &Effect::Operation(row_id))?;
            Ok(state)
        })
        .await;
    match written {
        Ok(state) => {
            let progress = reports.progress.subscribe();
            Driver {
                wallet,
                id,
                state,
                tries: Tries::default(),
                reports,
            }
            .launch(None);
            Ok(progress)
        }
        Err(error) => {
            wallet.operations.leave(&id);
            Err(error)
        }
    }
}

/// The refusal of a spend while nothing must be spent.
fn recovering() -> Error {
    Error::conflict(
        "recovery_running",
        "this database is older than the wallet, and the wallet finds out first which VTXOs are still its own; nothing was spent. Wait \
         until GET /api/v1/wallet shows that the recovery has ended, then try again",
    )
}

/// Writes a new operation in the transaction of its caller, who has to call [`resume`] when that is durable.
pub(in crate::wallet) fn enlist<F: Flow>(
    tx: &WriteTx<'_>,
    id: &OperationId,
    state: &F,
) -> Result<()> {
    Ok(operation::insert(
        tx,
        id,
        F::KIND,
        &encode(state)?,
        clock::now_millis(),
    )?)
}

/// Gives an unfinished operation another state, in the transaction of its caller. A driver that runs does not learn of it: the
/// step has to read the row.
pub(in crate::wallet) fn replace<F: Flow>(
    tx: &WriteTx<'_>,
    id: &OperationId,
    state: &F,
) -> Result<()> {
    Ok(operation::advance(tx, id, &encode(state)?, None)?)
}

fn encode<F: Flow>(state: &F) -> Result<String> {
    serde_json::to_string(state).map_err(Error::internal)
}

/// The state in a row of the flow's kind.
///
/// # Errors
/// `internal` when it cannot be read.
pub(in crate::wallet) fn state_of<F: Flow>(row: &OperationRow) -> Result<F> {
    Ok(serde_json::from_str(&row.state)
        .map_err(|error| store::Error::corrupt("operation state", error))?)
}

struct Driver<F> {
    wallet: Arc<Wallet>,
    id: OperationId,
    state: F,
    tries: Tries,
    reports: Reports,
}

enum Then {
    Continue,
    AwaitBlock,
    AwaitRound(Duration),
    AwaitNudge(Duration),
    End,
}

impl<F: Flow> Driver<F> {
    fn launch(self, wake_at: Option<i64>) {
        let wallet = Arc::clone(&self.wallet);
        let span = tracing::info_span!("operation", id = %self.id);
        let stopped = wallet.operations.stopped.clone();
        let run = async move {
            stopped.run_until_cancelled(self.run(wake_at)).await;
        };
        wallet.operations.tasks.spawn(run.instrument(span));
    }

    async fn run(mut self, wake_at: Option<i64>) {
        let mut tips = self.wallet.chain.subscribe_tips();
        let mut rounds = self.wallet.round_events.subscribe();
        let mut nudges = self.reports.nudges.clone();
        if let Some(wake_at) = wake_at {
            self.rest(clock::until(wake_at), &mut nudges).await;
        }
        loop {
            tips.mark_unchanged();
            rounds.mark_unchanged();
            // Only what came before the step is served by it.
            let served = *nudges.borrow_and_update();
            if self.state.answers_caller() {
                self.reports.progress.send_replace(Progress::Answerable);
            }
            // A panic must not leave an operation without a driver (H57); its state is as it was before the step.
            let turn = AssertUnwindSafe(self.turn(&mut nudges)).catch_unwind();
            let taken = turn.await.unwrap_or_else(|_| {
                let panicked = anyhow::anyhow!("the step of the operation panicked");
                Err(Error::internal(panicked))
            });
            match taken {
                Ok(Then::Continue) => {}
                Ok(Then::AwaitBlock) => {
                    self.reports.rested.send_replace(served);
                    tokio::select! {
                        _ = tips.changed() => {}
                        _ = nudges.changed() => {}
                    }
                }
                Ok(Then::AwaitRound(at_most)) => {
                    self.reports.rested.send_replace(served);
                    tokio::select! {
                        _ = rounds.changed() => {}
                        _ = tips.changed() => {}
                        _ = nudges.changed() => {}
                        () = tokio::time::sleep(at_most) => {}
                    }
                }
                Ok(Then::AwaitNudge(at_most)) => {
                    self.reports.rested.send_replace(served);
                    tokio::select! {
                        _ = tips.changed() => {}
                        _ = nudges.changed() => {}
                        () = tokio::time::sleep(at_most) => {}
                    }
                }
                Ok(Then::End) => break,
                Err(error) => self.back_off(&error, &mut nudges).await,
            }
        }
        self.wallet.operations.leave(&self.id);
    }

    /// Runs one step, and commits what it returns.
    async fn turn(&mut self, nudges: &mut watch::Receiver<u64>) -> Result<Then> {
        let state = self.state.clone();
        match state.step(&self.wallet, &self.id, self.tries).await? {
            Step::Commit {
                point,
                next,
                writes,
            } => self.write(point, next, writes, nudges).await,
            Step::AwaitBlock => {
                self.recover().await;
                Ok(Then::AwaitBlock)
            }
            Step::AwaitRound(at_most) => {
                self.recover().await;
                Ok(Then::AwaitRound(at_most))
            }
            Step::AwaitNudge(at_most) => {
                self.recover().await;
                Ok(Then::AwaitNudge(at_most))
            }
        }
    }

    async fn write(
        &mut self,
        point: CommitPoint,
        next: Next<F>,
        writes: Writes,
        nudges: &mut watch::Receiver<u64>,
    ) -> Result<Then> {
        match next {
            Next::State(state) => self.advance(point, state, None, writes).await?,
            Next::Later(state, pause) => {
                self.advance(point, state, Some(clock::in_millis(pause)), writes)
                    .await?;
                self.rest(pause, nudges).await;
            }
            Next::Done => {
                self.finish(point, Outcome::Done, None, writes).await?;
                tracing::info!("operation done");
                self.wallet.vtxos_arrived.notify_one();
                self.reports.progress.send_replace(Progress::Done);
                return Ok(Then::End);
            }
            Next::Failed(error) => {
                self.finish(point, Outcome::Failed, Some(&error), writes)
                    .await?;
                tracing::warn!(?error, "operation failed");
                self.reports.progress.send_replace(Progress::Failed(error));
                return Ok(Then::End);
            }
        }
        Ok(Then::Continue)
    }

    async fn advance(
        &mut self,
        point: CommitPoint,
        state: F,
        wake_at: Option<i64>,
        writes: Writes,
    ) -> Result<()> {
        let (id, encoded) = (self.id.clone(), encode(&state)?);
        self.wallet
            .commit(point, move |tx| {
                writes(tx)?;
                Ok(operation::advance(tx, &id, &encoded, wake_at)?)
            })
            .await?;
        tracing::debug!(point = point.name(), "operation advanced");
        self.state = state;
        self.tries = Tries::default();
        Ok(())
    }

    async fn finish(
        &self,
        point: CommitPoint,
        outcome: Outcome,
        error: Option<&Error>,
        writes: Writes,
    ) -> Result<()> {
        let (id, failure) = (self.id.clone(), error.map(Failure::from));
        self.wallet
            .commit(point, move |tx| {
                writes(tx)?;
                if let Some(failure) = &failure {
                    let kept = serde_json::to_string(failure).map_err(Error::internal)?;
                    idempotency::note_failure(tx, &id, &kept)?;
                }
                let reason = failure.as_ref().map(|failure| failure.message.as_str());
                Ok(operation::finish(
                    tx,
                    &id,
                    outcome,
                    reason,
                    clock::now_millis(),
                )?)
            })
            .await
    }

    /// Writes the failure to the row, and waits.
    async fn back_off(&mut self, error: &Error, nudges: &mut watch::Receiver<u64>) {
        let pause = back_off(self.tries.failed);
        self.tries = Tries {
            failed: self.tries.failed.saturating_add(1),
            earlier: true,
        };
        tracing::warn!(?error, failures = self.tries.failed, retry_in = ?pause, "operation step failed; trying again");
        let (id, reason, wake_at) = (
            self.id.clone(),
            error.message().to_owned(),
            clock::in_millis(pause),
        );
        let noted = self
            .wallet
            .store
            .write(move |tx| operation::sleep(tx, &id, wake_at, Some(&reason)))
            .await;
        if let Err(error) = noted {
            tracing::error!(%error, "cannot write the failure to the operation's row");
        }
        self.rest(pause, nudges).await;
    }

    /// Clears the failures of a step that now waits for an event: they are no longer shown.
    async fn recover(&mut self) {
        if self.tries.failed == 0 {
            return;
        }
        let id = self.id.clone();
        let noted = self
            .wallet
            .store
            .write(move |tx| operation::recover(tx, &id))
            .await;
        match noted {
            Ok(()) => self.tries.failed = 0,
            Err(error) => {
                tracing::error!(%error, "cannot clear the failures in the operation's row");
            }
        }
    }

    /// Sleeps until the time is over, the server or the chain is reachable again, or the operation is woken.
    async fn rest(&self, pause: Duration, nudges: &mut watch::Receiver<u64>) {
        // A nudge that arrived during the step counts as served.
        let last = *nudges.borrow_and_update();
        self.reports.rested.send_replace(last);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.wallet.server.next_connection() => {}
            () = self.wallet.chain.next_recovery() => {}
            _ = nudges.changed() => {}
        }
    }
}

/// The pause after this many failures of a step.
pub(in crate::wallet) fn back_off(failures: u32) -> Duration {
    clock::back_off(failures, MAX_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_to_a_minute_and_no_further() {
        for failures in [0, 1, 3, 6, 40, u32::MAX] {
            let pause = back_off(failures);
            assert!(
                pause >= Duration::from_millis(500) && pause <= MAX_BACK_OFF,
                "{failures}: {pause:?}"
            );
        }
        assert!(back_off(10) >= Duration::from_secs(30));
    }
}
