//! The single passes that the background loops and `POST /wallet/sync` run, and the events that the loops wait for. Each pass
//! can be repeated at any time.

use std::sync::Arc;
use std::time::Duration;

use ark_lib::ArkInfo;
use tokio::sync::watch;

use crate::ark::{self, Contact, PinnedKeys};
use crate::chain::Tip;
use crate::model::Attention;
use crate::store::wallet as row;
use crate::wallet::{Result, Wallet};

/// How long a sync waits for the operations that it woke.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// Seconds by which the clocks of server and wallet may differ. The proof that opens the stream of the mailbox lives ten seconds.
const MAX_CLOCK_SKEW: u64 = 5;
/// The code under which [`Wallet::attention`] lists a larger difference.
const CLOCK_SKEW: &str = "clock_skew";
/// The code under which it lists a server whose keys or limits are not safe.
const SERVER_UNSAFE: &str = "server_unsafe";

impl Wallet {
    /// Runs every off-chain pass once: tip, expiring VTXOs, recovery, rounds, fee rates, mailbox, open invoices, quarantine, the watch on the
    /// chain, operations, the server's copy. Logs the passes that fail; the background loops run them again.
    pub async fn sync(self: &Arc<Wallet>) {
        // Boards and the quarantine depend on the tip, so it comes first.
        log_failure("tip", self.tip().await);
        log_failure("expiring VTXOs", self.tell_of_expiring_vtxos().await);
        log_failure("recovery", self.follow_recovery().await);
        log_failure("rounds", self.ask_for_rounds().await);
        let (fees, mailbox, invoices, quarantine, watch, ()) = tokio::join!(
            self.refresh_fee_rates(),
            self.sync_mailbox(),
            self.check_invoices(),
            self.review_quarantine(),
            self.watch_chain(),
            self.operations.nudge_all(SYNC_PATIENCE),
        );
        log_failure("fee rates", fees);
        log_failure("mailbox", mailbox);
        log_failure("invoices", invoices);
        log_failure("quarantine", quarantine);
        log_failure("watch on the chain", watch);
        log_failure("server copy", self.catch_up().await);
    }

    /// Connects to the Ark server, or checks an existing connection. A new connection is used when the keys on disk are the server's; at
    /// the first contact they are written before (H59).
    ///
    /// # Errors
    /// `server_unavailable`; `server_unsafe` if its parameters or keys are not acceptable; the database's.
    pub async fn check_server(&self) -> Result<Arc<ArkInfo>> {
        let checked = self.server.check().await;
        if let Err(failure) = &checked {
            self.raise_unless_safe(failure).await?;
        }
        let new = match checked? {
            Contact::Standing(info) => return Ok(info),
            Contact::New(new) => new,
        };
        let stored = self.store.read(row::get).await?;
        let pinned = match stored.and_then(|row| row.server_keys) {
            Some(pinned) => pinned,
            None => {
                let keys = new.keys();
                self.store
                    .write(move |tx| row::pin_server(tx, keys.server, keys.mailbox))
                    .await?
            }
        };
        let (server, mailbox) = pinned;
        let accepted = self.server.accept(*new, PinnedKeys { server, mailbox });
        match &accepted {
            Ok(_) => self.clear(SERVER_UNSAFE, String::new()).await?,
            Err(failure) => self.raise_unless_safe(failure).await?,
        }
        Ok(accepted?)
    }

    /// The clock of the Ark server minus the clock of this machine, in seconds, if it is so large that proofs of ours could be refused.
    pub fn excessive_clock_skew(&self) -> Option<i64> {
        let skew = self.server.clock_skew();
        skew.filter(|skew| skew.unsigned_abs() > MAX_CLOCK_SKEW)
    }

    /// Shows, or shows no longer, that the clocks differ by `skew` seconds (H58).
    ///
    /// # Errors
    /// Only the database's.
    pub async fn report_clock_skew(&self, skew: Option<i64>) -> Result<()> {
        let Some(skew) = skew else {
            return self.clear(CLOCK_SKEW, String::new()).await;
        };
        let side = if skew > 0 { "behind" } else { "ahead of" };
        self.raise(Attention {
            code: CLOCK_SKEW.into(),
            subject: String::new(),
            message: format!(
                "the clock of this machine is {} seconds {side} the clock of the Ark server",
                skew.unsigned_abs()
            ),
            what_to_do: "set the clock of this machine, best with NTP. Until then payments can arrive up to 30 seconds late, or not at all"
                .into(),
        })
        .await
    }

    /// Shows that the server's keys or limits are not safe, if that is the failure. Another failure proves nothing about them.
    async fn raise_unless_safe(&self, failure: &ark::Error) -> Result<()> {
        let ark::Error::Unsafe(reason) = failure else {
            return Ok(());
        };
        self.raise(Attention {
            code: SERVER_UNSAFE.into(),
            subject: String::new(),
            message: format!("The Ark server's keys or limits are not safe, and the wallet does not work with it: {reason}."),
            what_to_do: "Ask the operator of the server. If the address is right and this does not change, exit the VTXOs before they expire.".into(),
        })
        .await
    }

    /// Resolves when a call to the server fails in a way that the connection may be the reason of.
    pub async fn next_failed_call(&self) {
        self.server.next_failed_call().await;
    }

    /// Resolves as soon as the Ark server is connected.
    pub async fn connected(&self) {
        self.server.connected().await;
    }

    /// Resolves when the Ark server is connected the next time.
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

    /// A receiver of the chain's tip.
    pub fn subscribe_tips(&self) -> watch::Receiver<Option<Tip>> {
        self.chain.subscribe_tips()
    }

    /// Fetches the fee rates unless they are fresh.
    ///
    /// # Errors
    /// `chain_unavailable`; the last rates stay in use.
    pub async fn refresh_fee_rates(&self) -> Result<()> {
        self.chain.refresh_fee_rates().await?;
        Ok(())
    }

    /// Resolves when the wallet may have got VTXOs since the last call, from a payer or from an operation of its own.
    pub async fn vtxos_arrived(&self) {
        self.vtxos_arrived.notified().await;
    }

    /// The interval between syncs when nothing else starts one.
    pub fn sync_interval(&self) -> Duration {
        self.settings.sync_interval
    }

    /// Whether the wallet syncs only when an API client asks for it.
    pub fn manual_sync(&self) -> bool {
        self.settings.manual_sync
    }
}

fn log_failure<T>(pass: &str, result: Result<T>) {
    if let Err(error) = result {
        tracing::warn!(pass, ?error, "a pass of the sync failed");
    }
}
