//! The daemon's one wallet: created, loaded at start, unloaded, deleted.
//!
//! [`WalletSlot`] runs one of these at a time, and keeps the datadir and the loaded wallet consistent (docs/protocol.md §21.5,
//! §23.3). A creation writes the seed to disk before it creates the database. A deletion removes the seed last. Each first writes a
//! file that tells of it, so that one that was interrupted can be finished. Neither touches files that do not belong to the wallet.

mod create;
mod creation;
mod delete;
mod load;
mod owner;
mod parts;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bip39::{Language, Mnemonic};
use bitcoin::Network;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{Attention, Error, Result, Wallet};
use crate::config::{ConfigError, Overrides};
use crate::datadir::{DataDir, LockError, WalletLock};

pub use creation::CreateWallet;
pub use delete::DeleteWallet;

/// Starts a wallet's background work, which ends soon after the token is cancelled.
pub type Background = fn(Arc<Wallet>, CancellationToken) -> JoinHandle<()>;

/// Holds the daemon's wallet, or none.
pub struct WalletSlot {
    datadir: DataDir,
    overrides: Overrides,
    background: Background,
    allow_mainnet: bool,
    /// The wallet for requests, which read it without a lock.
    loaded: ArcSwapOption<Offered>,
    /// Why the last start could not complete an interrupted creation.
    failure: ArcSwapOption<String>,
    /// The loaded wallet. Creation, loading, unloading and deletion hold the lock.
    running: Mutex<Option<Running>>,
}

/// The loaded wallet with its background work and its file lock.
struct Running {
    wallet: InUse,
    stop: CancellationToken,
    background: Option<JoinHandle<()>>,
    _lock: WalletLock,
}

/// The loaded wallet in the hands of a request. Its background work holds the wallet directly, so that the two can be told apart: a
/// deletion waits until no request uses the wallet before it stops anything.
#[derive(Clone)]
pub struct InUse(Arc<Offered>);

/// The wallet as requests get it: counted by itself.
struct Offered(Arc<Wallet>);

impl InUse {
    fn new(wallet: Arc<Wallet>) -> InUse {
        InUse(Arc::new(Offered(wallet)))
    }

    fn share(&self) -> Arc<Offered> {
        Arc::clone(&self.0)
    }

    fn is_in_other_hands(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether nobody else has the wallet, not even its own work.
    fn is_last(&mut self) -> bool {
        let offered = Arc::get_mut(&mut self.0);
        offered.is_some_and(|Offered(wallet)| Arc::get_mut(wallet).is_some())
    }
}

impl std::ops::Deref for InUse {
    type Target = Arc<Wallet>;

    fn deref(&self) -> &Arc<Wallet> {
        &self.0.0
    }
}

impl WalletSlot {
    /// A slot without a wallet. Every wallet that is loaded from `datadir` runs `background`; `overrides` apply to its
    /// configuration.
    pub fn new(datadir: DataDir, overrides: Overrides, background: Background) -> Self {
        Self {
            datadir,
            overrides,
            background,
            allow_mainnet: false,
            loaded: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            running: Mutex::new(None),
        }
    }

    /// The same slot, which creates and loads wallets on mainnet only if `allowed`.
    #[must_use]
    pub fn allow_mainnet(self, allowed: bool) -> Self {
        Self {
            allow_mainnet: allowed,
            ..self
        }
    }

    /// The loaded wallet, if there is one.
    pub fn loaded(&self) -> Option<InUse> {
        self.loaded.load_full().map(InUse)
    }

    /// Checks that this daemon may hold a wallet on `network`.
    ///
    /// # Errors
    /// `mainnet_not_allowed`
    fn check_network(&self, network: Network) -> Result<()> {
        if network != Network::Bitcoin || self.allow_mainnet {
            return Ok(());
        }
        let message = "This release is not ready for mainnet: money may be lost. Use another network, or start the daemon with \
                       --allow-mainnet (BARKD_ALLOW_MAINNET=true) if you accept that";
        Err(Error::bad_request("mainnet_not_allowed", message))
    }

    /// The seed words in the datadir, if there are any.
    ///
    /// # Errors
    /// An internal error if the file cannot be read.
    pub fn mnemonic(&self) -> Result<Option<Zeroizing<String>>> {
        match std::fs::read_to_string(self.datadir.mnemonic()) {
            Ok(words) => Ok(Some(Zeroizing::new(words))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::internal(e)),
        }
    }

    /// The seed in the datadir, if there is one.
    fn seed(&self) -> Result<Option<Mnemonic>> {
        let words = self.mnemonic()?;
        words.map(|words| parse_mnemonic(&words)).transpose()
    }
}

fn parse_mnemonic(words: &str) -> Result<Mnemonic> {
    // The parser's own message may contain a word of the seed, so it is dropped.
    Mnemonic::parse_in(Language::English, words.trim()).map_err(|_| {
        Error::bad_request(
            "invalid_mnemonic",
            "The mnemonic is not a valid BIP-39 phrase; check its words and their order",
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
                "Another program has opened the wallet in this datadir; stop it first",
            ),
            LockError::Io { .. } => Error::internal(error),
        }
    }
}
