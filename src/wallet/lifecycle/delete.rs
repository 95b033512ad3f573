//! Deletion of a wallet (docs/protocol.md §23.3).

use bitcoin::Network;
use bitcoin::bip32::Fingerprint;

use super::{WalletSlot, parse_mnemonic};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::{Error, Result};

/// A request to delete the wallet.
#[derive(Debug)]
pub struct DeleteWallet {
    /// The caller's confirmation; nothing is deleted without it.
    pub dangerous: bool,
    /// The fingerprint of the wallet to delete.
    pub fingerprint: String,
}

/// The result of a deletion.
#[derive(Debug, PartialEq, Eq)]
pub struct DeletedWallet {
    /// The fingerprint of the deleted wallet; `None` if none was loaded, so that at most leftover files were removed.
    pub fingerprint: Option<Fingerprint>,
}

impl WalletSlot {
    /// Deletes the wallet's configuration, database and seed. Other files stay.
    ///
    /// Without a loaded wallet it removes what an interrupted deletion or creation left; if a seed is left, the request must
    /// name its fingerprint.
    ///
    /// # Errors
    /// `not_confirmed`, `wrong_fingerprint`; `wallet_busy` if requests still use the wallet: repeat the deletion.
    pub async fn delete(&self, request: DeleteWallet) -> Result<DeletedWallet> {
        if !request.dangerous {
            let message =
                "Deleting the wallet destroys its seed; set dangerous to true if you mean it";
            return Err(Error::bad_request("not_confirmed", message));
        }
        let mut running = self.running.lock().await;
        let loaded = running.as_ref().map(|running| running.wallet.fingerprint());
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
        self.unload(&mut running).await?;
        self.datadir.remove_wallet().map_err(Error::internal)?;
        if let Some(fingerprint) = loaded {
            tracing::warn!(%fingerprint, "wallet deleted");
        }
        Ok(DeletedWallet {
            fingerprint: loaded,
        })
    }

    /// The fingerprint of the seed in the datadir, if there is a valid one.
    pub(super) fn fingerprint_on_disk(&self) -> Result<Option<Fingerprint>> {
        let words = self.mnemonic()?;
        let mnemonic = words
            .as_deref()
            .and_then(|words| parse_mnemonic(words).ok());
        // The fingerprint is that of a key that does not depend on the network.
        Ok(mnemonic.map(|mnemonic| WalletKeys::new(&mnemonic, Network::Bitcoin).fingerprint()))
    }
}
