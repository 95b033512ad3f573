//! The quarantine: received VTXOs whose validity is not known yet (docs/protocol.md §4.3, W1).

use crate::store::mailbox;
use crate::wallet::coins::validate::Verdict;
use crate::wallet::{CommitPoint, Result, Wallet};

impl Wallet {
    /// Validates the VTXOs in quarantine again. Those that are valid now are stored with a movement; those that are invalid
    /// are dropped; the others stay.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn review_quarantine(&self) -> Result<()> {
        let waiting = self.store.read(mailbox::quarantined).await?;
        let Some(server) = self.server.pinned().filter(|_| !waiting.is_empty()) else {
            return Ok(());
        };
        let _turn = self.mailbox_turn.lock().await;
        let (mut accepted, mut decided) = (Vec::new(), Vec::new());
        for entry in waiting {
            let id = entry.id();
            match self.validate_received(&entry, &server).await {
                Verdict::Accept(known) => {
                    accepted.push((entry, known));
                    decided.push(id);
                }
                Verdict::Refuse(reason) => {
                    tracing::warn!(vtxo = %id, reason, "quarantined VTXO refused");
                    decided.push(id);
                }
                Verdict::Undecided(reason) => {
                    tracing::debug!(vtxo = %id, reason, "VTXO stays in quarantine");
                }
            }
        }
        if decided.is_empty() {
            return Ok(());
        }
        let recorder = self.recorder(server);
        self.commit(CommitPoint::ReceiveReleased, move |tx| {
            decided
                .iter()
                .try_for_each(|id| mailbox::leave_quarantine(tx, *id))?;
            recorder.record(tx, &accepted)
        })
        .await?;
        self.vtxos_arrived.notify_one();
        Ok(())
    }
}
