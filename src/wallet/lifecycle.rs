//! The daemon's one wallet: created, opened at start, closed, deleted.
//!
//! [`WalletSlot`] lets only one of these happen at a time, and keeps the datadir and the open wallet in step
//! (docs/protocol.md §21.5, §23.3). The seed reaches the disk before the database exists, and leaves it after everything else. A
//! file that somebody else put into the datadir is never touched.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bip39::{Language, Mnemonic};
use bitcoin::Network;
use bitcoin::bip32::Fingerprint;
use bitcoin_ext::BlockHeight;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::account::keys::WalletKeys;
use super::{Error, Result, Wallet, WalletOptions};
use crate::config::{ConfigError, ConfigFile, NetworkName, Overrides, WalletConfig};
use crate::datadir::{self, DataDir, LockError, WalletLock};

/// How long a closing wallet waits for the requests that still use it; longer than any of them waits for its operation.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

/// Starts a wallet's background work, which ends soon after the token is cancelled.
pub type Background = fn(Arc<Wallet>, CancellationToken) -> JoinHandle<()>;

/// A request to make a wallet.
#[derive(Debug)]
pub struct CreateWallet {
    /// The network, whose defaults fill what `config` leaves open.
    pub network: NetworkName,
    /// The configuration that the caller asks for; empty where `config.toml` lies ready.
    pub config: ConfigFile,
    /// The seed words of a wallet that has lived before; a new wallet makes its own.
    pub mnemonic: Option<Zeroizing<String>>,
    /// The height from which such a wallet may own coins; only a bitcoind is searched by height.
    pub birthday: Option<BlockHeight>,
    /// Do not mind files of others in the datadir, nor a server that does not answer.
    pub force: bool,
}

/// A request to delete the wallet.
#[derive(Debug)]
pub struct DeleteWallet {
    /// Whether the caller knows what this means.
    pub dangerous: bool,
    /// The fingerprint of the wallet that the caller means.
    pub fingerprint: String,
}

/// What is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct DeletedWallet {
    /// The wallet that was deleted; `None` if none was loaded and at most leftovers were removed.
    pub fingerprint: Option<Fingerprint>,
}

/// The place of the daemon's one wallet.
pub struct WalletSlot {
    datadir: DataDir,
    overrides: Overrides,
    background: Background,
    loaded: ArcSwapOption<Wallet>,
    /// Held by whoever changes the slot.
    turn: Mutex<Option<Running>>,
}

/// The loaded wallet and what belongs to it.
struct Running {
    wallet: Arc<Wallet>,
    stop: CancellationToken,
    background: Option<JoinHandle<()>>,
    _lock: WalletLock,
}

impl WalletSlot {
    /// An empty slot over `datadir`; every wallet in it gets `background`. `overrides` apply to its configuration.
    pub fn new(datadir: DataDir, overrides: Overrides, background: Background) -> Self {
        Self {
            datadir,
            overrides,
            background,
            loaded: ArcSwapOption::empty(),
            turn: Mutex::new(None),
        }
    }

    /// The wallet, if there is one.
    pub fn loaded(&self) -> Option<Arc<Wallet>> {
        self.loaded.load_full()
    }

    /// The seed words, if there is a wallet.
    pub fn mnemonic(&self) -> Result<Option<Zeroizing<String>>> {
        match std::fs::read_to_string(self.datadir.mnemonic()) {
            Ok(words) => Ok(Some(Zeroizing::new(words))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::internal(e)),
        }
    }

    /// Makes a wallet and loads it. If that fails, the datadir is as it was before.
    ///
    /// # Errors
    /// `wallet_exists`, `invalid_mnemonic`, `config_exists`, `missing_server` and `invalid_config` are the caller's; `datadir_in_use` and
    /// `wallet_locked` are conflicts; and whatever [`Wallet::create`] says.
    pub async fn create(&self, request: CreateWallet) -> Result<Fingerprint> {
        let mut turn = self.turn.lock().await;
        if turn.is_some() {
            return Err(Error::bad_request("wallet_exists", "Wallet already set"));
        }
        let restored = request.mnemonic.is_some();
        let mnemonic = match &request.mnemonic {
            Some(words) => parse_mnemonic(words)?,
            None => Mnemonic::generate(12).map_err(Error::internal)?,
        };
        self.check_room(request.force)?;
        let (config, new_file) = self.configuration(&request)?;
        let lock = WalletLock::take(&self.datadir.wallet_lock())?;
        let undo = Undo {
            datadir: &self.datadir,
            config_is_ours: new_file.is_some(),
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
        undo.disarm();
        let fingerprint = wallet.fingerprint();
        tracing::info!(%fingerprint, network = %wallet.network(), "wallet created");
        *turn = Some(self.run(wallet, lock));
        Ok(fingerprint)
    }

    /// Loads the wallet in the datadir; false if there is none.
    ///
    /// # Errors
    /// The configuration is wrong, the files do not belong together, or the chain is not the wallet's.
    pub async fn open_existing(&self) -> Result<bool> {
        let mut turn = self.turn.lock().await;
        let Some(words) = self.mnemonic()? else {
            return Ok(false);
        };
        let config = WalletConfig::load(&self.datadir.config(), self.overrides)?;
        let lock = WalletLock::take(&self.datadir.wallet_lock())?;
        let options = WalletOptions {
            config: Arc::new(config),
            network: None,
            mnemonic: parse_mnemonic(&words)?,
            restored: false,
            birthday: None,
            database: self.datadir.database(),
            allow_offline_server: true,
        };
        let wallet = Wallet::open(options).await?;
        tracing::info!(fingerprint = %wallet.fingerprint(), network = %wallet.network(), "wallet opened");
        *turn = Some(self.run(wallet, lock));
        Ok(true)
    }

    /// Deletes the wallet for good: seed, database, configuration. Other files stay.
    ///
    /// Without a loaded wallet it removes what an unfinished deletion or creation left; a seed among that still needs its fingerprint.
    ///
    /// # Errors
    /// `not_confirmed` and `wrong_fingerprint` are the caller's; `wallet_busy` is a conflict, and a repetition completes the job.
    pub async fn delete(&self, request: DeleteWallet) -> Result<DeletedWallet> {
        if !request.dangerous {
            let message =
                "Deleting the wallet destroys its seed; set dangerous to true if you mean it";
            return Err(Error::bad_request("not_confirmed", message));
        }
        let mut turn = self.turn.lock().await;
        let loaded = turn.as_ref().map(|running| running.wallet.fingerprint());
        let owner = match loaded {
            Some(fingerprint) => Some(fingerprint),
            None => self.fingerprint_on_disk()?,
        };
        if owner.is_some_and(|owner| {
            !request
                .fingerprint
                .trim()
                .eq_ignore_ascii_case(&owner.to_string())
        }) {
            let message = "The fingerprint is not that of the wallet; GET /api/v1/wallet shows it";
            return Err(Error::bad_request("wrong_fingerprint", message));
        }
        self.unload(&mut turn).await?;
        self.datadir.remove_wallet().map_err(Error::internal)?;
        if let Some(fingerprint) = loaded {
            tracing::warn!(%fingerprint, "wallet deleted");
        }
        Ok(DeletedWallet {
            fingerprint: loaded,
        })
    }

    /// Unloads the wallet and waits for its last work; its files stay.
    ///
    /// # Errors
    /// `wallet_busy` if requests still hold it.
    pub async fn close(&self) -> Result<()> {
        let mut turn = self.turn.lock().await;
        self.unload(&mut turn).await
    }

    fn run(&self, wallet: Arc<Wallet>, lock: WalletLock) -> Running {
        let stop = CancellationToken::new();
        let background = (self.background)(Arc::clone(&wallet), stop.clone());
        self.loaded.store(Some(Arc::clone(&wallet)));
        Running {
            wallet,
            stop,
            background: Some(background),
            _lock: lock,
        }
    }

    /// Takes the wallet out of service. SQLite removes journals by name when a database closes, so nothing may still have this one open
    /// when the next is made: the last handle is awaited.
    async fn unload(&self, turn: &mut Option<Running>) -> Result<()> {
        let Some(mut running) = turn.take() else {
            return Ok(());
        };
        self.loaded.store(None);
        running.stop.cancel();
        if let Some(Err(error)) = match running.background.take() {
            Some(task) => Some(task.await),
            None => None,
        } {
            tracing::error!(%error, "the wallet's background work ended badly");
        }
        running.wallet.close().await;
        let deadline = tokio::time::Instant::now() + LAST_REQUESTS;
        loop {
            let Running { wallet, .. } = &mut running;
            if Arc::get_mut(wallet).is_some() {
                break;
            }
            if tokio::time::Instant::now() >= deadline {
                // Unloaded for everybody else, but still ours to finish with the next call.
                *turn = Some(running);
                return Err(Error::conflict(
                    "wallet_busy",
                    "Requests still use the wallet; try again in a moment",
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Closing the database blocks until its writer is done.
        tokio::task::spawn_blocking(move || drop(running))
            .await
            .map_err(Error::internal)
    }

    fn fingerprint_on_disk(&self) -> Result<Option<Fingerprint>> {
        let words = self.mnemonic()?;
        let mnemonic = words
            .as_deref()
            .and_then(|words| parse_mnemonic(words).ok());
        // The fingerprint is that of a key that does not depend on the network.
        Ok(mnemonic.map(|mnemonic| WalletKeys::new(&mnemonic, Network::Bitcoin).fingerprint()))
    }

    /// A new wallet needs a datadir without a wallet, and without anything that we do not know unless the caller does.
    fn check_room(&self, force: bool) -> Result<()> {
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
            "The datadir holds files that are not ours ({}); set force to leave them there",
            foreign.join(", ")
        );
        Err(Error::conflict("datadir_in_use", message))
    }

    /// The configuration in force for a new wallet, and the file that has to be written for it.
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
        let in_force = self.overrides.apply(&file)?;
        if in_force.server_address.is_none() {
            let message = "This network has no default Ark server; set ark_server";
            return Err(Error::bad_request("missing_server", message));
        }
        Ok((WalletConfig::check(&in_force)?, Some(file)))
    }
}

fn with_network_defaults(asked: &ConfigFile, network: NetworkName) -> ConfigFile {
    let mut file = asked.clone();
    if file.server_address.is_none() {
        file.server_address = network.default_server().map(str::to_owned);
    }
    if file.esplora_address.is_none() && file.bitcoind_address.is_none() {
        file.esplora_address = network.default_esplora().map(str::to_owned);
    }
    file
}

fn parse_mnemonic(words: &str) -> Result<Mnemonic> {
    // The parser's own message may name a word.
    Mnemonic::parse_in(Language::English, words.trim()).map_err(|_| {
        Error::bad_request(
            "invalid_mnemonic",
            "The mnemonic is not a valid BIP-39 phrase",
        )
    })
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Error::bad_request("invalid_config", error.to_string())
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { .. } => Error::conflict(
                "wallet_locked",
                "Another program has the wallet in this datadir open",
            ),
            LockError::Io { .. } => Error::internal(error),
        }
    }
}

/// Takes a creation back when it fails, or when its task is dropped.
struct Undo<'a> {
    datadir: &'a DataDir,
    config_is_ours: bool,
    armed: bool,
}

impl Undo<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let outcome = if self.config_is_ours {
            self.datadir.remove_wallet()
        } else {
            self.datadir.remove_seed_and_database()
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "a wallet that could not be created has left files in the datadir");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn slot() -> (tempfile::TempDir, WalletSlot) {
        let temp = tempfile::tempdir().unwrap();
        let datadir = DataDir::open(temp.path()).unwrap();
        (
            temp,
            WalletSlot::new(datadir, Overrides::None, |_, _| tokio::spawn(async {})),
        )
    }

    fn request() -> CreateWallet {
        // Nothing listens on port 1, so a creation that gets as far as the chain fails there.
        let config = ConfigFile {
            server_address: Some("http://127.0.0.1:1".into()),
            esplora_address: Some("http://127.0.0.1:1".into()),
            ..ConfigFile::default()
        };
        CreateWallet {
            network: NetworkName::Regtest,
            config,
            birthday: None,
            mnemonic: None,
            force: false,
        }
    }

    async fn refusal(slot: &WalletSlot, request: CreateWallet) -> &'static str {
        slot.create(request).await.unwrap_err().code()
    }

    fn entries(slot: &WalletSlot) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(slot.datadir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn callers_mistakes_leave_nothing_behind() {
        let (_temp, slot) = slot();
        let words = CreateWallet {
            mnemonic: Some("abandon ".repeat(12).into()),
            ..request()
        };
        assert_eq!(refusal(&slot, words).await, "invalid_mnemonic");
        let no_server = CreateWallet {
            config: ConfigFile::default(),
            ..request()
        };
        assert_eq!(refusal(&slot, no_server).await, "missing_server");
        let gap = ConfigFile {
            vtxo_key_gap_limit: Some(100_001),
            ..request().config
        };
        assert_eq!(
            refusal(
                &slot,
                CreateWallet {
                    config: gap,
                    ..request()
                }
            )
            .await,
            "invalid_config"
        );
        assert!(entries(&slot).is_empty());
    }

    #[tokio::test]
    async fn a_failed_creation_is_taken_back() {
        let (_temp, slot) = slot();
        std::fs::write(slot.datadir.auth_token(), "t").unwrap();
        assert_eq!(refusal(&slot, request()).await, "chain_unavailable");
        assert_eq!(entries(&slot), ["auth_token"]);
        std::fs::write(
            slot.datadir.config(),
            "esplora_address = \"http://127.0.0.1:1\"",
        )
        .unwrap();
        let nulls = CreateWallet {
            config: ConfigFile::default(),
            ..request()
        };
        assert_eq!(refusal(&slot, nulls).await, "chain_unavailable");
        assert!(slot.datadir.config().exists());
        assert!(slot.datadir.wallet_entries().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_existing_configuration_is_not_overruled() {
        let (_temp, slot) = slot();
        std::fs::write(slot.datadir.config(), "").unwrap();
        assert_eq!(refusal(&slot, request()).await, "config_exists");
    }

    #[tokio::test]
    async fn force_tolerates_strangers_but_never_an_old_seed() {
        let (_temp, slot) = slot();
        std::fs::write(slot.datadir.path().join("holiday.jpg"), "").unwrap();
        assert_eq!(refusal(&slot, request()).await, "datadir_in_use");
        let forced = || CreateWallet {
            force: true,
            ..request()
        };
        assert_eq!(refusal(&slot, forced()).await, "chain_unavailable");
        std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
        assert_eq!(refusal(&slot, forced()).await, "datadir_in_use");
        assert_eq!(entries(&slot), ["holiday.jpg", "mnemonic"]);
    }

    #[tokio::test]
    async fn deletion_needs_a_yes_and_the_right_name() {
        let (_temp, slot) = slot();
        std::fs::write(slot.datadir.mnemonic(), WORDS).unwrap();
        std::fs::write(slot.datadir.path().join("holiday.jpg"), "").unwrap();
        let delete = |dangerous, fingerprint: &str| {
            slot.delete(DeleteWallet {
                dangerous,
                fingerprint: fingerprint.to_owned(),
            })
        };
        let owner = slot.fingerprint_on_disk().unwrap().unwrap().to_string();
        assert_eq!(
            delete(false, &owner).await.unwrap_err().code(),
            "not_confirmed"
        );
        assert_eq!(
            delete(true, "00000000").await.unwrap_err().code(),
            "wrong_fingerprint"
        );
        assert_eq!(
            delete(true, &owner).await.unwrap(),
            DeletedWallet { fingerprint: None }
        );
        assert_eq!(entries(&slot), ["holiday.jpg"]);
        assert_eq!(
            delete(true, "anything").await.unwrap(),
            DeletedWallet { fingerprint: None }
        );
    }
}
