//! Creation of a wallet (docs/protocol.md §23.3): its request, then configuration, seed and database.
//!
//! The request is on disk before anything else and until the wallet is complete. If the process dies in between, the next start, or
//! the same request, completes the wallet from it. A creation that fails removes what it has written, and nothing else.

use std::sync::Arc;

use bip39::Mnemonic;
use bitcoin::bip32::Fingerprint;
use zeroize::Zeroizing;

use super::creation::{CreateWallet, Creation};
use super::{WalletSlot, parse_mnemonic};
use crate::config::{ConfigFile, NetworkName, WalletConfig};
use crate::datadir::{self, WalletLock};
use crate::store::Store;
use crate::wallet::{CommitPoint, Error, Result, Wallet, WalletOptions};

impl WalletSlot {
    /// Creates a wallet and loads it. If that fails, the datadir is as it was before. If the process dies meanwhile, the next start
    /// or the same request completes the wallet.
    ///
    /// # Errors
    /// `mainnet_not_allowed`, `wallet_exists`, `invalid_mnemonic`, `config_exists`, `missing_server`, `invalid_config`, `datadir_in_use`,
    /// `creation_interrupted`, `deletion_interrupted`, `wallet_locked`, and the errors of [`Wallet::create`].
    pub async fn create(&self, request: CreateWallet) -> Result<Fingerprint> {
        self.check_network(request.network.network())?;
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Err(Error::bad_request(
                "wallet_exists",
                "Wallet already set; delete it with DELETE /api/v1/wallet, or start another daemon with another --datadir",
            ));
        }
        if self.datadir.deletion().exists() {
            let message = "The deletion of a wallet was interrupted; repeat it with DELETE /api/v1/wallet first. GET /api/v1/wallet shows which";
            return Err(Error::conflict("deletion_interrupted", message));
        }
        let mnemonic = request.mnemonic.as_deref();
        let mnemonic = mnemonic.map(|words| parse_mnemonic(words)).transpose()?;
        let seed = self.seed()?;
        let (wallet, lock) = match (Creation::read(&self.datadir)?, seed) {
            (Some(mut begun), Some(seed)) => {
                if !begun.is_repeated_by(&request, mnemonic.as_ref(), &seed) {
                    let message = "The creation of another wallet was interrupted; repeat the request that began it, or restart the daemon, to \
                                   complete that wallet. GET /api/v1/wallet shows which";
                    return Err(Error::conflict("creation_interrupted", message));
                }
                begun.force |= request.force;
                let lock = WalletLock::take(&self.datadir.wallet_lock())?;
                (self.complete(&begun, seed).await?, lock)
            }
            (begun, seed) => {
                if let Some(begun) = begun {
                    self.undo_without_seed(&begun)?;
                }
                self.create_new(&request, mnemonic, seed).await?
            }
        };
        let fingerprint = wallet.fingerprint();
        tracing::info!(%fingerprint, network = %wallet.network(), "wallet created");
        *running = Some(self.run(Arc::clone(&wallet), lock));
        drop(running);
        wallet.await_recovery().await;
        Ok(fingerprint)
    }

    /// Creates a wallet in a datadir without one, perhaps with its seed.
    async fn create_new(
        &self,
        request: &CreateWallet,
        mnemonic: Option<Mnemonic>,
        seed: Option<Mnemonic>,
    ) -> Result<(Arc<Wallet>, WalletLock)> {
        let is_known =
            seed.is_some() && seed == mnemonic && self.owner_of_database().await?.is_none();
        if !is_known {
            self.check_datadir_is_free(request.force)?;
        }
        let mnemonic = match mnemonic {
            Some(mnemonic) => mnemonic,
            None => Mnemonic::generate(12).map_err(Error::internal)?,
        };
        let config = self.configuration(request)?;
        let lock = WalletLock::take(&self.datadir.wallet_lock())?;
        let creation = Creation::new(request, config.is_some(), !is_known);
        let begun = self.begin(&creation, config, &mnemonic);
        let created = match begun {
            Ok(()) => self.complete(&creation, mnemonic).await,
            Err(error) => Err(error),
        };
        match created {
            Ok(wallet) => Ok((wallet, lock)),
            Err(error) => {
                if let Err(error) = self.undo(&creation) {
                    tracing::error!(%error, "wallet creation failed and its files could not be removed from the datadir");
                }
                Err(error)
            }
        }
    }

    /// Writes the request, the configuration and the seed.
    fn begin(
        &self,
        creation: &Creation,
        config: Option<ConfigFile>,
        mnemonic: &Mnemonic,
    ) -> Result<()> {
        CommitPoint::WalletCreateBegun.step(|| creation.write(&self.datadir))?;
        if let Some(config) = config {
            CommitPoint::WalletCreateConfigured.step(|| {
                let content = config.to_toml()?;
                datadir::write_new(&self.datadir.config(), content.as_bytes())
                    .map_err(Error::internal)
            })?;
        }
        if creation.writes_seed {
            CommitPoint::WalletCreateSeeded.step(|| {
                let words = Zeroizing::new(mnemonic.to_string());
                datadir::write_new(&self.datadir.mnemonic(), words.as_bytes())
                    .map_err(Error::internal)
            })?;
        }
        Ok(())
    }

    /// Completes a creation whose configuration and seed are written. After a failure it can be repeated.
    pub(super) async fn complete(
        &self,
        creation: &Creation,
        mnemonic: Mnemonic,
    ) -> Result<Arc<Wallet>> {
        let config = WalletConfig::load(&self.datadir.config(), self.overrides)?;
        let options = WalletOptions {
            config: Arc::new(config),
            network: Some(creation.network.network()),
            mnemonic,
            restored: creation.restored,
            birthday: creation.birthday(),
            database: self.datadir.database(),
            allow_offline_server: creation.force,
        };
        Store::roll_back(&self.datadir.database())?;
        let wallet = match self.owner_of_database().await? {
            None => Wallet::create(options).await?,
            Some(_) => Wallet::open(options).await?,
        };
        CommitPoint::WalletCreateFinished.step(|| {
            datadir::remove_if_present(&self.datadir.creation()).map_err(Error::internal)
        })?;
        Ok(wallet)
    }

    /// As [`undo`](Self::undo), for an interrupted creation whose seed is not there. Does nothing if there is a database: the creation had
    /// written the seed before it, so somebody has taken the seed away. Returns whether it did anything.
    pub(super) fn undo_without_seed(&self, creation: &Creation) -> Result<bool> {
        let is_free = !self.datadir.database().exists();
        if is_free {
            self.undo(creation)?;
        }
        Ok(is_free)
    }

    /// Removes what a creation has written. After a failure it can be repeated.
    fn undo(&self, creation: &Creation) -> Result<()> {
        let undo = || {
            self.datadir.remove_database()?;
            if creation.writes_seed {
                self.datadir.remove_seed()?;
            }
            if creation.writes_config {
                self.datadir.remove_config()?;
            }
            self.datadir.remove_marks()
        };
        undo().map_err(Error::internal)
    }

    /// Checks that the datadir holds no part of a wallet and, without `force`, no unknown files.
    fn check_datadir_is_free(&self, force: bool) -> Result<()> {
        let wallet = self.datadir.wallet_entries().map_err(Error::internal)?;
        if !wallet.is_empty() {
            let message = format!(
                "The datadir holds parts of another wallet ({}), which may hold money; keep them, and start the daemon with another --datadir",
                wallet.join(", ")
            );
            return Err(Error::conflict("datadir_in_use", message));
        }
        let foreign = self.datadir.foreign_entries().map_err(Error::internal)?;
        if force || foreign.is_empty() {
            return Ok(());
        }
        let message = format!(
            "The datadir holds files that do not belong to a wallet ({}); move them, or set force to keep them there",
            foreign.join(", ")
        );
        Err(Error::conflict("datadir_in_use", message))
    }

    /// Checks the configuration of a new wallet. Returns the `config.toml` to write; `None` if the file exists.
    fn configuration(&self, request: &CreateWallet) -> Result<Option<ConfigFile>> {
        if self.datadir.config().exists() {
            if request.config != ConfigFile::default() {
                let message = "config.toml exists already; leave server, chain source and gap limit out of the request";
                return Err(Error::bad_request("config_exists", message));
            }
            WalletConfig::load(&self.datadir.config(), self.overrides)?;
            return Ok(None);
        }
        let file = with_network_defaults(&request.config, request.network);
        let effective = self.overrides.apply(&file)?;
        if effective.server_address.is_none() {
            let message = "This network has no default Ark server; set ark_server";
            return Err(Error::bad_request("missing_server", message));
        }
        WalletConfig::check(&effective)?;
        Ok(Some(file))
    }
}

/// The requested configuration, with the default Ark server and chain source of the network where it has none.
fn with_network_defaults(requested: &ConfigFile, network: NetworkName) -> ConfigFile {
    let mut file = requested.clone();
    if file.server_address.is_none() {
        file.server_address = network.default_server().map(str::to_owned);
    }
    if file.esplora_address.is_none() && file.bitcoind_address.is_none() {
        file.esplora_address = network.default_esplora().map(str::to_owned);
    }
    file
}
