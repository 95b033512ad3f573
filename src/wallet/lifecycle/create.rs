//! Creation of a wallet (docs/protocol.md §23.3): configuration, then seed, then database.

use std::sync::Arc;

use bip39::Mnemonic;
use bitcoin::bip32::Fingerprint;
use bitcoin_ext::BlockHeight;
use zeroize::Zeroizing;

use super::{WalletSlot, parse_mnemonic};
use crate::config::{ConfigFile, NetworkName, WalletConfig};
use crate::datadir::{self, DataDir, WalletLock};
use crate::wallet::{Error, Result, Wallet, WalletOptions};

/// A request to create a wallet.
#[derive(Debug)]
pub struct CreateWallet {
    /// The network. Its default servers stand in for those that `config` lacks.
    pub network: NetworkName,
    /// The configuration; must be empty if `config.toml` exists.
    pub config: ConfigFile,
    /// The seed words of a wallet to restore; `None` generates a new seed.
    pub mnemonic: Option<Zeroizing<String>>,
    /// The height from which the restored wallet may own coins. Only bitcoind is searched by height.
    pub birthday: Option<BlockHeight>,
    /// Ignores unknown files in the datadir and an unreachable Ark server.
    pub force: bool,
}

impl WalletSlot {
    /// Creates a wallet and loads it. If that fails, or if the future is dropped, the datadir is as it was before.
    ///
    /// # Errors
    /// `wallet_exists`, `invalid_mnemonic`, `config_exists`, `missing_server`, `invalid_config`, `datadir_in_use`,
    /// `wallet_locked`, and the errors of [`Wallet::create`].
    pub async fn create(&self, request: CreateWallet) -> Result<Fingerprint> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Err(Error::bad_request("wallet_exists", "Wallet already set"));
        }
        let restored = request.mnemonic.is_some();
        let mnemonic = match &request.mnemonic {
            Some(words) => parse_mnemonic(words)?,
            None => Mnemonic::generate(12).map_err(Error::internal)?,
        };
        self.check_datadir_is_free(request.force)?;
        let (config, new_file) = self.configuration(&request)?;
        let lock = WalletLock::take(&self.datadir.wallet_lock())?;
        let cleanup = Cleanup {
            datadir: &self.datadir,
            created_config: new_file.is_some(),
            armed: true,
        };
        if let Some(file) = new_file {
            datadir::write_new(&self.datadir.config(), file.to_toml()?.as_bytes())
                .map_err(Error::internal)?;
        }
        let words = Zeroizing::new(mnemonic.to_string());
        datadir::write_new(&self.datadir.mnemonic(), words.as_bytes()).map_err(Error::internal)?;
        let options = WalletOptions {
            config: Arc::new(config),
            network: Some(request.network.network()),
            mnemonic,
            restored,
            birthday: request.birthday,
            database: self.datadir.database(),
            allow_offline_server: request.force,
        };
        let wallet = Wallet::create(options).await?;
        cleanup.disarm();
        let fingerprint = wallet.fingerprint();
        tracing::info!(%fingerprint, network = %wallet.network(), "wallet created");
        *running = Some(self.run(Arc::clone(&wallet), lock));
        drop(running);
        wallet.await_recovery().await;
        Ok(fingerprint)
    }

    /// Checks that the datadir holds no part of a wallet and, without `force`, no unknown files.
    fn check_datadir_is_free(&self, force: bool) -> Result<()> {
        let wallet = self.datadir.wallet_entries().map_err(Error::internal)?;
        if !wallet.is_empty() {
            let message = format!(
                "The datadir holds parts of another wallet ({}); remove them with DELETE /api/v1/wallet first",
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

    /// The effective configuration of a new wallet, and the `config.toml` to write; `None` if the file exists.
    fn configuration(&self, request: &CreateWallet) -> Result<(WalletConfig, Option<ConfigFile>)> {
        if self.datadir.config().exists() {
            if request.config != ConfigFile::default() {
                let message = "config.toml exists already; leave server, chain source and gap limit out of the request";
                return Err(Error::bad_request("config_exists", message));
            }
            return Ok((
                WalletConfig::load(&self.datadir.config(), self.overrides)?,
                None,
            ));
        }
        let file = with_network_defaults(&request.config, request.network);
        let effective = self.overrides.apply(&file)?;
        if effective.server_address.is_none() {
            let message = "This network has no default Ark server; set ark_server";
            return Err(Error::bad_request("missing_server", message));
        }
        Ok((WalletConfig::check(&effective)?, Some(file)))
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

/// Removes the files of a creation when it fails or its future is dropped.
struct Cleanup<'a> {
    datadir: &'a DataDir,
    /// Whether the creation writes `config.toml`; one that existed before stays.
    created_config: bool,
    armed: bool,
}

impl Cleanup<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let outcome = if self.created_config {
            self.datadir.remove_wallet()
        } else {
            self.datadir.remove_seed_and_database()
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "wallet creation failed and its files could not be removed from the datadir");
        }
    }
}
