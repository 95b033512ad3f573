//! The background tasks of an open wallet. Events drive them where the other side sends events; timers are the safety net.
//!
//! | task | runs | does |
//! |---|---|---|
//! | connection | every second; when a call failed | connects to the Ark server, or requests its parameters |
//! | tip | when the backend announces a block; every second on regtest, every 15 seconds elsewhere | polls for the tip |
//! | blocks | at a new tip; when the chain backend recovers; every sync interval | fee rates, quarantine, the watch on VTXOs |
//! | on-chain | at a new tip; when the chain backend recovers; every sync interval | syncs the on-chain wallet |
//! | mailbox | at each message of the stream; every 30 seconds | receives VTXOs |
//! | rounds | at each event of the stream; every 30 seconds | publishes round events to the operations |
//! | maintenance | when a round begins | refreshes the VTXOs that are due |
//! | server copy | when something was received; when an operation is done; at a new connection; every sync interval | registers chains, backs up ids |

mod connection;
mod failures;
mod mailbox;
mod rounds;
mod server_copy;
mod stream;
mod tip;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::wallet::Wallet;

/// The running background tasks of one wallet.
pub struct BackgroundTasks {
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl BackgroundTasks {
    /// Starts the tasks. With manual sync, only the connection's task: the API starts every sync.
    pub fn start(wallet: &Arc<Wallet>) -> BackgroundTasks {
        let background = BackgroundTasks {
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        };
        background.spawn(connection::run(Arc::clone(wallet)));
        if !wallet.manual_sync() {
            background.spawn(tip::poll(Arc::clone(wallet)));
            background.spawn(tip::on_blocks(Arc::clone(wallet)));
            background.spawn(tip::sync_onchain(Arc::clone(wallet)));
            background.spawn(mailbox::run(Arc::clone(wallet)));
            background.spawn(rounds::follow(Arc::clone(wallet)));
            background.spawn(rounds::maintain(Arc::clone(wallet)));
            background.spawn(server_copy::run(Arc::clone(wallet)));
        }
        background
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        self.tasks.spawn(async move {
            stopped.run_until_cancelled(work).await;
        });
    }

    /// Stops the tasks, and waits until they have stopped.
    pub async fn stop(self) {
        self.stopped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
