//! The background tasks of an open wallet. Events drive them where the other side sends events; timers are the safety net.
//!
//! | task | runs | does |
//! |---|---|---|
//! | connection | every second; when a call failed | connects to the Ark server, or requests its parameters |
//! | events | every hour; after each 500 events | deletes old events |
//! | tip | when the backend announces a block; every second on regtest, every 15 seconds elsewhere | polls for the tip |
//! | blocks | at a new tip; when the chain backend recovers; every sync interval | fee rates, quarantine, the watch on VTXOs, VTXOs that expire soon |
//! | on-chain | at a new tip; when the chain backend recovers; every sync interval | syncs the on-chain wallet; serves exits |
//! | mailbox, its stream and its poll | at each message; every 30 seconds | receives VTXOs |
//! | lightning | every second while an invoice is open | learns whether invoices are paid |
//! | recovery | at a new connection; when an operation is done; every sync interval | takes up what a recovery has found, looks for a newer copy of the database |
//! | rounds, their stream and their poll | at each event; every 30 seconds | publishes round events to the operations |
//! | maintenance | when a round begins | refreshes the VTXOs that are due |
//! | webhooks | at each event; when a person changes one | delivers the events, in a task for each webhook |
//! | server copy | when something was received; when an operation is done; at a new connection; every sync interval | registers chains, backs up ids |

mod connection;
mod events;
mod failures;
mod lightning;
mod mailbox;
mod recovery;
mod rounds;
mod server_copy;
mod stream;
mod tip;
mod webhooks;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::wallet::Wallet;

pub use webhooks::Render;

/// The running background tasks of one wallet.
pub struct BackgroundTasks {
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl BackgroundTasks {
    /// Starts the tasks. With manual sync, only those of the connection, of old events and of the webhooks: the API starts every sync.
    /// `render` makes the JSON of an event.
    pub fn start(wallet: &Arc<Wallet>, render: Render) -> BackgroundTasks {
        let background = BackgroundTasks {
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        };
        background.spawn("connection", wallet, connection::run);
        background.spawn("events", wallet, events::prune);
        let deliver = move |wallet| webhooks::run(wallet, render);
        background.spawn("webhooks", wallet, deliver);
        if !wallet.manual_sync() {
            background.spawn("tip", wallet, tip::poll);
            background.spawn("blocks", wallet, tip::on_blocks);
            background.spawn("on-chain", wallet, tip::sync_onchain);
            background.spawn("mailbox stream", wallet, mailbox::follow);
            background.spawn("mailbox poll", wallet, mailbox::poll);
            background.spawn("lightning", wallet, lightning::poll);
            background.spawn("recovery", wallet, recovery::run);
            background.spawn("round stream", wallet, rounds::follow);
            background.spawn("round poll", wallet, rounds::poll);
            background.spawn("maintenance", wallet, rounds::maintain);
            background.spawn("server copy", wallet, server_copy::run);
        }
        background
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        task: &'static str,
        wallet: &Arc<Wallet>,
        work: impl Fn(Arc<Wallet>) -> F + Send + Sync + 'static,
    ) {
        let (stopped, wallet) = (self.stopped.clone(), Arc::clone(wallet));
        self.tasks.spawn(async move {
            let endless =
                restart_after_panic(task, failures::back_off, || work(Arc::clone(&wallet)));
            stopped.run_until_cancelled(endless).await;
        });
    }

    /// Stops the tasks, and waits until they have stopped.
    pub async fn stop(self) {
        self.stopped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs a task until it ends. One that panics begins again after a pause, which grows with each panic: without its task the wallet would
/// run on, and never receive or refresh again (H57).
async fn restart_after_panic<F: Future<Output = ()>>(
    task: &'static str,
    back_off: impl Fn(u32) -> Duration,
    work: impl Fn() -> F,
) {
    let mut panics = 0;
    while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
        let pause = back_off(panics);
        tracing::error!(task, restart_in = ?pause, "a background task panicked; starting it again");
        tokio::time::sleep(pause).await;
        panics = panics.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_begins_again_after_a_pause() {
        // H57
        let (begins, pauses) = (AtomicU32::new(0), AtomicU32::new(0));
        let back_off = |panics| {
            assert_eq!(pauses.fetch_add(1, Ordering::Relaxed), panics);
            Duration::ZERO
        };
        restart_after_panic("test", back_off, async || {
            assert!(begins.fetch_add(1, Ordering::Relaxed) >= 3, "on purpose");
        })
        .await;
        assert_eq!(begins.load(Ordering::Relaxed), 4);
        assert_eq!(pauses.load(Ordering::Relaxed), 3);
    }
}
