//! What a datadir without a loaded wallet holds of one, for `GET /wallet` and the log.

use super::{Attention, WalletSlot};
use crate::wallet::Result;

impl WalletSlot {
    /// What the datadir holds of a wallet that is not loaded, and what to do about it. Empty while a wallet is loaded, created or
    /// deleted.
    pub async fn unloaded_parts(&self) -> Vec<Attention> {
        match self.running.try_lock() {
            Ok(running) if running.is_none() => {}
            _ => return Vec::new(),
        }
        let parts = self.parts().await.unwrap_or_else(|error| {
            let what_to_do = "Keep a copy of the datadir. With a readable mnemonic, the wallet can be restored in another datadir";
            Some(fact(error.code(), String::new(), error.to_string(), what_to_do))
        });
        parts.into_iter().collect()
    }

    /// As [`unloaded_parts`](Self::unloaded_parts), without looking whether a wallet is loaded.
    pub(super) async fn parts(&self) -> Result<Option<Attention>> {
        if self.datadir.deletion().exists() {
            let named = std::fs::read_to_string(self.datadir.deletion()).unwrap_or_default();
            return Ok(Some(fact(
                "deletion_interrupted",
                named,
                "The deletion of this wallet was interrupted, so it is not opened".to_owned(),
                "Repeat DELETE /api/v1/wallet with this fingerprint. The wallet can be restored with its words",
            )));
        }
        let seed = self.owner_of_seed()?;
        let seed = seed.map(|fingerprint| fingerprint.to_string());
        if let Some(seed) = seed.as_ref().filter(|_| self.datadir.creation().exists()) {
            let why = self.failure.load();
            let why = why
                .as_ref()
                .map_or_else(String::new, |why| format!(": {why}"));
            return Ok(Some(fact(
                "creation_interrupted",
                seed.clone(),
                format!(
                    "The creation of this wallet was interrupted, and it could not be completed{why}"
                ),
                "Restart the daemon, or repeat the request that created the wallet, when the cause is gone: both complete it",
            )));
        }
        let database = self.owner_of_database().await?;
        Ok(match (seed, database) {
            (Some(seed), None) => Some(fact(
                "database_missing",
                seed,
                "The datadir has the seed of this wallet, and no database of it".to_owned(),
                "If there is a copy of db.sqlite, stop the daemon, put it back, and start again. Otherwise send POST /api/v1/wallet/create with the \
                 words in the file mnemonic: that restores the wallet",
            )),
            (None, Some(database)) => Some(fact(
                "seed_missing",
                database.to_string(),
                "The datadir has the database of this wallet, and no seed".to_owned(),
                "Stop the daemon, put the wallet's words back into the file mnemonic, and start again",
            )),
            _ => None,
        })
    }

    /// Logs what the datadir holds of a wallet that is not loaded. Returns whether it holds nothing.
    pub(super) async fn log_parts(&self) -> Result<bool> {
        let Some(Attention {
            code,
            subject,
            message,
            what_to_do,
        }) = self.parts().await?
        else {
            return Ok(true);
        };
        tracing::error!(%code, %subject, %message, %what_to_do, "the datadir holds a wallet that cannot be opened");
        Ok(false)
    }
}

fn fact(code: &str, subject: String, message: String, what_to_do: &str) -> Attention {
    Attention {
        code: code.to_owned(),
        subject,
        message,
        what_to_do: what_to_do.to_owned(),
    }
}
