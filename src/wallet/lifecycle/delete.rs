//! Deletion of a wallet (docs/protocol.md §23.3).

use std::io;

use bitcoin::bip32::Fingerprint;

use super::WalletSlot;
use super::owner::is_named;
use crate::datadir::{self, WalletLock};
use crate::wallet::{CommitPoint, Error, Result};

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
    /// Deletes the wallet's configuration, database and seed. Other files stay. Before it removes anything, it checks that the seed and
    /// the database are those of the named wallet.
    ///
    /// Without a loaded wallet it removes what an interrupted deletion or creation of the named wallet left.
    ///
    /// # Errors
    /// `not_confirmed`, `wrong_fingerprint`, `not_this_wallet`, `unreadable_wallet`, `wallet_locked`; `wallet_busy` if requests go on
    /// using the wallet for long: nothing is deleted, and the wallet can be used again.
    pub async fn delete(&self, request: DeleteWallet) -> Result<DeletedWallet> {
        if !request.dangerous {
            let message =
                "Deleting the wallet destroys its seed; set dangerous to true if you mean it";
            return Err(Error::bad_request("not_confirmed", message));
        }
        let mut running = self.running.lock().await;
        let loaded = running.as_ref().map(|running| running.wallet.fingerprint());
        if loaded.is_some_and(|fingerprint| !is_named(fingerprint, &request.fingerprint)) {
            let message = "The fingerprint is not that of the wallet; GET /api/v1/wallet shows it";
            return Err(Error::bad_request("wrong_fingerprint", message));
        }
        // Another program that has opened the wallet keeps the lock.
        let _lock = match loaded {
            Some(_) => None,
            None => Some(WalletLock::take(&self.datadir.wallet_lock())?),
        };
        self.check_owner(&request.fingerprint).await?;
        if let Some(running) = running.as_ref() {
            self.withdraw(running).await?;
        }
        self.unload(&mut running).await?;
        self.remove_files(request.fingerprint.trim())?;
        if let Some(fingerprint) = loaded {
            tracing::warn!(%fingerprint, "wallet deleted");
        }
        Ok(DeletedWallet {
            fingerprint: loaded,
        })
    }

    /// Removes the files of a wallet, the seed last. What tells of the deletion is written before and removed after everything else, so
    /// that no half of a wallet is opened.
    fn remove_files(&self, fingerprint: &str) -> Result<()> {
        let files = &self.datadir;
        let step = |point: CommitPoint, change: &dyn Fn() -> io::Result<()>| {
            point.step(|| change().map_err(Error::internal))
        };
        step(CommitPoint::WalletDeleteBegun, &|| {
            datadir::write_atomic(&files.deletion(), fingerprint.as_bytes())
        })?;
        step(CommitPoint::WalletDeleteConfigRemoved, &|| {
            files.remove_config()
        })?;
        step(CommitPoint::WalletDeleteDatabaseRemoved, &|| {
            files.remove_database()
        })?;
        step(CommitPoint::WalletDeleteSeedRemoved, &|| {
            files.remove_seed()
        })?;
        step(CommitPoint::WalletDeleteFinished, &|| files.remove_marks())
    }
}
