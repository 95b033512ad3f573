//! The request of a creation, and its copy on disk until the wallet is complete: a creation that was interrupted is finished from it.

use bip39::Mnemonic;
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{ConfigFile, NetworkName};
use crate::datadir::{self, DataDir};
use crate::wallet::{Error, Result};

/// A request to create a wallet.
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

/// What was asked for, without the seed, and which files were there before.
#[derive(Serialize, Deserialize)]
pub(super) struct Creation {
    /// The network.
    pub(super) network: NetworkName,
    /// The configuration in the request.
    config: ConfigFile,
    /// Whether the request had a mnemonic.
    pub(super) restored: bool,
    /// Its birthday height.
    birthday: Option<u32>,
    /// Whether it ignores an unreachable Ark server.
    pub(super) force: bool,
    /// Whether it writes `config.toml`; one that existed before stays when the creation fails.
    pub(super) writes_config: bool,
    /// Whether it writes the seed; one that existed before stays when the creation fails.
    pub(super) writes_seed: bool,
}

impl Creation {
    /// The creation that carries out a request.
    pub(super) fn new(request: &CreateWallet, writes_config: bool, writes_seed: bool) -> Creation {
        Creation {
            network: request.network,
            config: request.config.clone(),
            restored: request.mnemonic.is_some(),
            birthday: request.birthday.map(BlockHeight::to_u32),
            force: request.force,
            writes_config,
            writes_seed,
        }
    }

    /// The creation under way in the datadir, if there is one.
    ///
    /// # Errors
    /// An internal error if the file cannot be read.
    pub(super) fn read(datadir: &DataDir) -> Result<Option<Creation>> {
        match std::fs::read(datadir.creation()) {
            Ok(content) => serde_json::from_slice(&content)
                .map(Some)
                .map_err(Error::internal),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::internal(e)),
        }
    }

    /// Writes it to the datadir.
    ///
    /// # Errors
    /// An internal error if the file cannot be written.
    pub(super) fn write(&self, datadir: &DataDir) -> Result<()> {
        let content = serde_json::to_vec(self).map_err(Error::internal)?;
        datadir::write_atomic(&datadir.creation(), &content).map_err(Error::internal)
    }

    /// The height from which the wallet may own coins.
    pub(super) fn birthday(&self) -> Option<BlockHeight> {
        self.birthday.map(BlockHeight::new)
    }

    /// Whether a request, with the mnemonic in it, asks for the same wallet as this creation with the seed on disk.
    pub(super) fn is_repeated_by(
        &self,
        request: &CreateWallet,
        mnemonic: Option<&Mnemonic>,
        seed: &Mnemonic,
    ) -> bool {
        self.network == request.network
            && self.config == request.config
            && self.birthday() == request.birthday
            && self.restored == mnemonic.is_some()
            && mnemonic.is_none_or(|mnemonic| mnemonic == seed)
    }
}
