//! The start of a recovery from the seed, and what waits for it.

use std::sync::Arc;

use super::Recovery;
use crate::model::{OperationId, RecoveryCause};
use crate::store::{WriteTx, recovery};
use crate::wallet::engine::{self, clock, enlist};
use crate::wallet::{PATIENCE, Result, Wallet};

/// The code of the fact that this database is older than the wallet.
pub(super) const OLDER_DATABASE: &str = "older_database";

/// The first state of a recovery.
pub(super) const FIRST: Recovery = Recovery::Keys {
    start: 0,
    cursor: None,
};

/// Writes the recovery of a wallet that is created from its seed, in the transaction that writes the wallet.
pub(in crate::wallet) fn begin_from_seed(tx: &WriteTx<'_>) -> Result<()> {
    let id = OperationId::recovery(0);
    recovery::begin(tx, &id, RecoveryCause::Seed, clock::now_millis())?;
    enlist(tx, &id, &FIRST)
}

impl Wallet {
    /// Waits for the recovery of a wallet that was just created from its seed, for as long as a request waits. If the Ark server is away,
    /// the recovery goes on by itself.
    pub async fn await_recovery(self: &Arc<Wallet>) {
        let progress = self.operations.progress(&OperationId::recovery(0));
        if let Some(progress) = progress.filter(|_| self.is_connected()) {
            match engine::answer(progress, PATIENCE).await {
                Ok(engine::Answer::Complete) => {}
                Ok(engine::Answer::Pending) => {
                    tracing::info!("the recovery of the wallet goes on in the background");
                }
                Err(error) => tracing::warn!(?error, "the recovery of the wallet failed"),
            }
        }
    }
}
