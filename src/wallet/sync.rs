//! What the background loops and `POST /wallet/sync` do: each is one pass, and can be repeated at any time.

use std::time::Duration;

use ark_lib::ArkInfo;
use std::sync::Arc;
use tokio::sync::watch;

use crate::chain::Tip;
use crate::store::wallet as row;
use crate::wallet::{Result, Wallet};

/// How long a sync waits for the operations that it woke.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

impl Wallet {
    /// Everything off-chain at once: fee rates, mailbox, quarantine, operations, the server's copy. Each part that fails is
    /// logged, and tried again by the loop it belongs to.
    pub async fn sync(self: &Arc<Wallet>) {
        let fees = async { self.refresh_fee_rates().await };
        let operations = async {
            self.operations.nudge_all(SYNC_PATIENCE).await;
            Ok(())
        };
        // A fresh tip first: boards and the quarantine look at it.
        log("tip", self.tip().await);
        log("rounds", self.ask_for_rounds().await);
        let (fees, mailbox, quarantine, ()) =
            tokio::join!(fees, self.read_mailbox(), self.review_quarantine(), async {
                let _: Result<()> = operations.await;
            });
        log("fee rates", fees);
        log("mailbox", mailbox);
        log("quarantine", quarantine);
        log("server copy", self.catch_up().await);
    }

    /// Reads the mailbox to its end; answers the checkpoint that it came to.
    ///
    /// # Errors
    /// `server_unavailable`.
    pub async fn sync_mailbox(self: &Arc<Wallet>) -> Result<u64> {
        self.read_mailbox().await
    }

    /// Connects to the server, or asks a connected one for a sign of life; pins its keys at first contact.
    ///
    /// # Errors
    /// It is away or not safe.
    pub async fn check_server(&self) -> Result<Arc<ArkInfo>> {
        let was_pinned = self.server.pinned().is_some();
        let info = self.server.check().await?;
        if !was_pinned && let Some(keys) = self.server.pinned() {
            self.store
                .write(move |tx| row::pin_server(tx, &keys.server, &keys.mailbox))
                .await?;
        }
        Ok(info)
    }

    /// Resolves when a call to the server fails in a way that the connection may be the reason of.
    pub async fn next_failed_call(&self) {
        self.server.next_failed_call().await;
    }

    /// Resolves while the server is connected.
    pub async fn connected(&self) {
        self.server.connected().await;
    }

    /// Resolves when the server gets connected the next time.
    pub async fn next_connection(&self) {
        self.server.next_connection().await;
    }

    /// Resolves when the chain backend announces a block; never with a backend that announces none.
    pub async fn next_block_notification(&self) {
        self.chain.next_block_notification().await;
    }

    /// Resolves when the chain backend answers again after it failed.
    pub async fn next_chain_recovery(&self) {
        self.chain.next_recovery().await;
    }

    /// Follows the chain's tip.
    pub fn subscribe_tips(&self) -> watch::Receiver<Option<Tip>> {
        self.chain.subscribe_tips()
    }

    /// Asks for the fee rates, unless they are fresh.
    ///
    /// # Errors
    /// `chain_unavailable`; the known rates stay.
    pub async fn refresh_fee_rates(&self) -> Result<()> {
        self.chain.refresh_fee_rates().await?;
        Ok(())
    }

    /// Resolves when something has come in since the last time.
    pub async fn something_received(&self) {
        self.received.notified().await;
    }

    /// How often the daemon looks after everything, also when nothing happens.
    pub fn sync_interval(&self) -> Duration {
        self.settings.sync_interval
    }

    /// Whether syncing is left to the API.
    pub fn manual_sync(&self) -> bool {
        self.settings.manual_sync
    }
}

fn log<T>(part: &str, result: Result<T>) {
    if let Err(error) = result {
        tracing::warn!(part, ?error, "this part of the sync failed");
    }
}
