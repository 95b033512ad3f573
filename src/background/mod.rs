//! The background loops of an open wallet. Events drive them where there are events; the clock is the safety net.
//!
//! | loop | wakes | does |
//! |---|---|---|
//! | connection | every second; when a call failed | connects, or asks the server for a sign of life |
//! | tip | a block that the backend announces; every second on regtest, every 15 elsewhere | asks for the tip |
//! | blocks | a new tip; a chain that is back; every sync interval | fee rates, quarantine |
//! | on-chain | a new tip; a chain that is back; every sync interval | the on-chain wallet |
//! | mailbox | its stream; every 30 seconds | receives |
//! | rounds | their stream; every 30 seconds | hands on the events |
//! | maintenance | a round begins | refreshes what is due |
//! | server copy | something received; a new connection; every sync interval | registers chains, backs up ids |

mod connection;
mod mailbox;
mod rounds;
mod stream;
mod tip;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::wallet::{self, Wallet};

/// The longest rest of a loop that fails.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// The running loops of one wallet.
pub struct Sync {
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl Sync {
    /// Starts the loops; only the connection's when syncing is left to the API.
    pub fn start(wallet: &Arc<Wallet>) -> Sync {
        let sync = Sync {
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        };
        sync.spawn(connection::run(Arc::clone(wallet)));
        if !wallet.manual_sync() {
            sync.spawn(tip::watch(Arc::clone(wallet)));
            sync.spawn(tip::on_blocks(Arc::clone(wallet)));
            sync.spawn(tip::sync_onchain(Arc::clone(wallet)));
            sync.spawn(mailbox::run(Arc::clone(wallet)));
            sync.spawn(rounds::follow(Arc::clone(wallet)));
            sync.spawn(rounds::maintain(Arc::clone(wallet)));
            sync.spawn(server_copy(Arc::clone(wallet)));
        }
        sync
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        self.tasks.spawn(async move {
            stopped.run_until_cancelled(work).await;
        });
    }

    /// Stops the loops, and waits until they have stopped.
    pub async fn stop(self) {
        self.stopped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn server_copy(wallet: Arc<Wallet>) {
    let mut failing = Failing::default();
    loop {
        if wallet.is_connected() {
            failing.note(
                "the server's copy of the wallet cannot be completed",
                wallet.catch_up().await,
            );
        }
        tokio::select! {
            () = wallet.something_received() => {}
            () = wallet.next_connection() => {}
            () = tokio::time::sleep(wallet.sync_interval()) => {}
        }
    }
}

/// Logs when a loop's work begins to fail, and when it works again, but not each failure in between.
#[derive(Default)]
struct Failing(bool);

impl Failing {
    fn note<T>(&mut self, what: &str, result: crate::wallet::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.0) {
                    tracing::info!("over: {what}");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.0, true) {
                    tracing::warn!(?error, "{what}");
                }
                None
            }
        }
    }
}

/// How long a loop rests that has failed so many times.
fn back_off(failures: u32) -> Duration {
    wallet::back_off(failures, MAX_BACK_OFF)
}
