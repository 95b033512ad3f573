//! Loading the wallet in the datadir, and unloading it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use bip39::Mnemonic;

use super::creation::Creation;
use super::{InUse, Running, WalletSlot};
use crate::config::WalletConfig;
use crate::datadir::WalletLock;
use crate::wallet::{Error, Result, Wallet, WalletOptions};

/// How long an unloading wallet waits for the requests that still use it: longer than any request waits for its operation.
const LAST_REQUESTS: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How often it looks whether requests still use it.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl WalletSlot {
    /// Loads the wallet in the datadir; completes its creation if that was interrupted. Without a wallet, and with one that only its
    /// operator can complete, it logs what is there.
    ///
    /// # Errors
    /// `mainnet_not_allowed`, `invalid_config`, `wallet_locked`, `invalid_mnemonic`, and the errors of [`Wallet::open`].
    pub async fn open_existing(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        if self.datadir.deletion().exists() {
            self.log_parts().await?;
            return Ok(());
        }
        let seed = self.seed()?;
        if let Some(creation) = Creation::read(&self.datadir)? {
            self.check_network(creation.network.network())?;
            match seed {
                Some(seed) => *running = self.resume(&creation, seed).await?,
                None if self.undo_without_seed(&creation)? => {
                    tracing::warn!(
                        "removed what an interrupted creation of a wallet had written; it had no seed yet"
                    );
                }
                None => {
                    self.log_parts().await?;
                }
            }
            return Ok(());
        }
        let row = self.row_of_database().await?;
        let (Some(mnemonic), Some(row)) = (seed, row) else {
            if self.log_parts().await? {
                tracing::warn!("no wallet found; create one with POST /api/v1/wallet/create");
            }
            return Ok(());
        };
        self.check_network(row.network)?;
        let config = WalletConfig::load(&self.datadir.config(), self.overrides)?;
        let lock = WalletLock::take(&self.datadir.wallet_lock())?;
        let options = WalletOptions {
            config: Arc::new(config),
            network: None,
            mnemonic,
            restored: true,
            birthday: None,
            database: self.datadir.database(),
            allow_offline_server: true,
        };
        let wallet = Wallet::open(options).await?;
        tracing::info!(fingerprint = %wallet.fingerprint(), network = %wallet.network(), "wallet opened");
        *running = Some(self.run(wallet, lock));
        Ok(())
    }

    /// Completes an interrupted creation. `None` if that fails: the daemon runs without the wallet, so that it can be tried again.
    async fn resume(&self, creation: &Creation, seed: Mnemonic) -> Result<Option<Running>> {
        let lock = WalletLock::take(&self.datadir.wallet_lock())?;
        match self.complete(creation, seed).await {
            Ok(wallet) => {
                tracing::warn!(fingerprint = %wallet.fingerprint(), "completed the interrupted creation of the wallet");
                Ok(Some(self.run(wallet, lock)))
            }
            Err(error) => {
                self.failure.store(Some(Arc::new(error.to_string())));
                self.log_parts().await?;
                Ok(None)
            }
        }
    }

    /// Unloads the wallet once its background work and its requests have ended. Its files stay.
    ///
    /// # Errors
    /// `wallet_busy` if requests still use the wallet after 30 seconds.
    pub async fn close(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        self.unload(&mut running).await
    }

    /// Starts the background work of an opened wallet and offers the wallet to requests.
    pub(super) fn run(&self, wallet: Arc<Wallet>, lock: WalletLock) -> Running {
        let stop = CancellationToken::new();
        let background = (self.background)(Arc::clone(&wallet), stop.clone());
        let wallet = InUse::new(wallet);
        self.loaded.store(Some(wallet.share()));
        Running {
            wallet,
            stop,
            background: Some(background),
            _lock: lock,
        }
    }

    /// Offers the wallet to no further request, and waits until none uses it. If that takes too long, requests get it again, as if
    /// nothing had happened.
    ///
    /// # Errors
    /// `wallet_busy` if requests still use the wallet after [`LAST_REQUESTS`].
    pub(super) async fn withdraw(&self, running: &Running) -> Result<()> {
        self.loaded.store(None);
        let unused = async {
            while running.wallet.is_in_other_hands() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        if tokio::time::timeout(LAST_REQUESTS, unused).await.is_ok() {
            return Ok(());
        }
        self.loaded.store(Some(running.wallet.share()));
        Err(busy(
            "Other requests still use the wallet, so nothing was deleted and the wallet goes on as before; wait for their answers, then \
             delete it again",
        ))
    }

    /// Stops the wallet and closes its database.
    ///
    /// It waits until no request uses the wallet: SQLite removes journals by name when it closes a database, so this database
    /// must be closed before the next one is created under the same name.
    ///
    /// # Errors
    /// `wallet_busy` if requests still use the wallet after [`LAST_REQUESTS`]. The next call completes the job.
    pub(super) async fn unload(&self, slot: &mut Option<Running>) -> Result<()> {
        let Some(mut running) = slot.take() else {
            return Ok(());
        };
        self.loaded.store(None);
        running.stop.cancel();
        if let Some(background) = running.background.take()
            && let Err(error) = background.await
        {
            tracing::error!(%error, "the background work of the wallet panicked");
        }
        running.wallet.close().await;
        let deadline = tokio::time::Instant::now() + LAST_REQUESTS;
        while !running.wallet.is_last() {
            if tokio::time::Instant::now() >= deadline {
                *slot = Some(running);
                return Err(busy("Requests still use the wallet; try again in a moment"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        // Closing the database blocks until its writer thread has ended.
        tokio::task::spawn_blocking(move || drop(running))
            .await
            .map_err(Error::internal)
    }
}

fn busy(message: &str) -> Error {
    Error::conflict("wallet_busy", message)
}
