//! Whose seed and whose database are in the datadir.

use bitcoin::Network;
use bitcoin::bip32::Fingerprint;

use super::{WalletSlot, parse_mnemonic};
use crate::store::Store;
use crate::store::wallet::WalletRow;
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::{Error, Result};

impl WalletSlot {
    /// Checks that the seed and the database in the datadir, as far as they are there, are those of the wallet with this
    /// fingerprint. Only reads.
    ///
    /// # Errors
    /// `not_this_wallet` if one of them belongs to another wallet, `unreadable_wallet` if that cannot be found out. Both name the
    /// file.
    pub(super) async fn check_owner(&self, named: &str) -> Result<()> {
        let check = |file: &str, owner: Option<Fingerprint>| match owner {
            Some(owner) if !is_named(owner, named) => Err(not_this_wallet(file, owner)),
            _ => Ok(()),
        };
        check("mnemonic", self.owner_of_seed()?)?;
        check("db.sqlite", self.owner_of_database().await?)
    }

    /// The fingerprint of the seed in the datadir; `None` if there is no seed.
    ///
    /// # Errors
    /// `unreadable_wallet`
    pub(super) fn owner_of_seed(&self) -> Result<Option<Fingerprint>> {
        let unreadable = |why: String| unreadable_wallet("mnemonic", &why);
        let words = self
            .mnemonic()
            .map_err(|error| unreadable(error.to_string()))?;
        let Some(words) = words else {
            return Ok(None);
        };
        let mnemonic = parse_mnemonic(&words);
        let mnemonic = mnemonic.map_err(|_| unreadable("it is not a BIP-39 phrase".to_owned()))?;
        // The fingerprint is that of a key that does not depend on the network.
        Ok(Some(
            WalletKeys::new(&mnemonic, Network::Bitcoin).fingerprint(),
        ))
    }

    /// The fingerprint of the wallet in the database; `None` if there is no database, or no wallet in it.
    ///
    /// # Errors
    /// `unreadable_wallet`
    pub(super) async fn owner_of_database(&self) -> Result<Option<Fingerprint>> {
        let row = self.row_of_database().await?;
        Ok(row.map(|row| row.fingerprint))
    }

    /// The identity of the wallet in the database; `None` if there is no database, or no wallet in it.
    ///
    /// # Errors
    /// `unreadable_wallet`
    pub(super) async fn row_of_database(&self) -> Result<Option<WalletRow>> {
        let database = self.datadir.database();
        if !database.exists() {
            return match self.datadir.journal_with_content() {
                Some(name) => Err(unreadable_wallet(
                    name,
                    "the database that it belongs to is missing",
                )),
                None => Ok(None),
            };
        }
        tokio::task::spawn_blocking(move || Store::owner(&database))
            .await
            .map_err(Error::internal)?
            .map_err(|error| unreadable_wallet("db.sqlite", &error.to_string()))
    }
}

/// Whether a caller's text is this fingerprint.
pub(super) fn is_named(fingerprint: Fingerprint, named: &str) -> bool {
    named.trim().eq_ignore_ascii_case(&fingerprint.to_string())
}

fn not_this_wallet(file: &str, owner: Fingerprint) -> Error {
    let message = format!(
        "{file} in the datadir belongs to wallet {owner}, not to the wallet that was named; nothing was deleted. Move the file to \
         another folder and keep it, or name the wallet that it belongs to"
    );
    Error::conflict("not_this_wallet", message)
}

fn unreadable_wallet(file: &str, why: &str) -> Error {
    let message = format!(
        "{file} in the datadir cannot be read ({why}), and may hold money; nothing was changed. Move the file to another folder and keep \
         it, then try again"
    );
    Error::conflict("unreadable_wallet", message)
}
