//! A database that is older than the wallet: a newer copy has spent and received what this one does not know
//! (docs/protocol.md §4.11).
//!
//! The recovery mailbox shows it: every VTXO of the wallet stands there, and one that is ours and not in this database was put there by
//! another copy. Anybody can post ids there, so an id counts only if the VTXO's key is ours and the mailbox does not deliver it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};

use super::fetch::fetch_bodies;
use super::scan::MAX_IDLE_PAGES;
use super::start::{FIRST, OLDER_DATABASE};
use crate::ark::Payload;
use crate::model::{Attention, CandidateSource, FoundVtxo, OperationId, RecoveryCause, VtxoState};
use crate::store::{WriteTx, key, recovery, vtxo_body};
use crate::wallet::account::keys;
use crate::wallet::engine::{Tries, attention, clock};
use crate::wallet::{CommitPoint, Result, Wallet};

impl Wallet {
    /// Takes up rounds that a recovery has found, shows spends that are not proven, and looks once after each start whether a newer copy
    /// of this database exists. If so, a recovery begins, and nothing is spent before all VTXOs are judged.
    ///
    /// # Errors
    /// `server_unavailable`, or the database's.
    pub async fn follow_recovery(self: &Arc<Wallet>) -> Result<()> {
        self.resume_operations().await?;
        self.show_unproven_spends().await?;
        if self.is_newest_copy.load(Ordering::Acquire) || !self.is_connected() {
            return Ok(());
        }
        let turn = self.newer_copy_turn.lock().await;
        // One that has not read the recovery mailbox yet finds what a newer copy has done.
        let running = self.recovery().await?.map(|report| report.phase);
        if matches!(running, None | Some("doubts" | "done")) {
            self.look_for_newer_copy().await?;
        }
        self.is_newest_copy.store(true, Ordering::Release);
        drop(turn);
        Ok(())
    }

    /// Resolves when a recovery has left work for [`follow_recovery`](Self::follow_recovery), or has given the mailbox back.
    pub async fn recovery_advanced(&self) {
        self.recovery_advanced.notified().await;
    }

    async fn look_for_newer_copy(self: &Arc<Wallet>) -> Result<()> {
        let mut cursor = self.store.read(recovery::cursor).await?;
        // The server could go on for ever.
        for _ in 0..MAX_IDLE_PAGES {
            let page = self.mailbox_page(self.keys.recovery_mailbox(), cursor);
            let messages = page.await?;
            let Some(last) = messages.last().map(|message| message.checkpoint) else {
                return Ok(());
            };
            let mut ids = Vec::new();
            for message in messages {
                if let Payload::RecoveryIds(encoded) = message.payload {
                    ids.extend(encoded.iter().filter_map(|id| VtxoId::from_slice(id).ok()));
                }
            }
            if let Some(id) = self.find_unknown(ids).await? {
                return self.start_recovery_of_older_database(id).await;
            }
            cursor = last;
            self.store
                .write(move |tx| recovery::advance_cursor(tx, cursor))
                .await?;
        }
        tracing::warn!("the recovery mailbox goes on; the rest of it is read after the next start");
        Ok(())
    }

    /// The first of these VTXOs that is ours and not in the database.
    async fn find_unknown(self: &Arc<Wallet>, ids: Vec<VtxoId>) -> Result<Option<VtxoId>> {
        let mut unknown = self.unknown_ones(ids).await?;
        if unknown.is_empty() {
            return Ok(None);
        }
        // A payer can post the id of what he pays.
        self.sync_mailbox().await?;
        unknown = self.unknown_ones(unknown).await?;
        let bodies = fetch_bodies(self, &unknown, Tries::default()).await?;
        let (keys, gap) = (self.keys.clone(), self.settings.key_gap);
        self.store
            .read(move |connection| {
                for (id, body) in bodies {
                    let Ok(vtxo) = Vtxo::<Full>::deserialize(&body) else {
                        continue;
                    };
                    let pubkey = vtxo.user_pubkey();
                    let found = keys::search(connection, &keys, [pubkey], gap)?;
                    if found.contains_key(&pubkey) {
                        return Ok(Some(id));
                    }
                }
                Ok(None)
            })
            .await
    }

    async fn unknown_ones(&self, ids: Vec<VtxoId>) -> Result<Vec<VtxoId>> {
        self.store
            .read(move |connection| {
                let mut unknown = Vec::new();
                for id in ids {
                    let known = vtxo_body::is_stored(connection, id)?
                        || recovery::is_known(connection, id)?;
                    if !known {
                        unknown.push(id);
                    }
                }
                Ok(unknown)
            })
            .await
    }

    async fn start_recovery_of_older_database(self: &Arc<Wallet>, evidence: VtxoId) -> Result<()> {
        tracing::warn!(vtxo = %evidence, "this database is older than the wallet; recovering what a newer copy has done");
        let earlier = self.store.read(recovery::count).await?;
        let own: Vec<VtxoId> = self
            .store
            .live_vtxos()
            .iter()
            .filter(|record| record.state == VtxoState::Spendable)
            .map(|record| record.id)
            .collect();
        let id = OperationId::recovery(earlier);
        self.start(id, CommitPoint::RecoveryStarted, move |tx, id| {
            let cause = RecoveryCause::OlderDatabase;
            recovery::begin(tx, id, cause, clock::now_millis())?;
            for own in own {
                add_own(tx, id, own)?;
            }
            attention::raise(tx, &older_database())?;
            Ok(FIRST)
        })
        .await?;
        Ok(())
    }
}

/// Adds a VTXO of this database, so that the server is asked whether it is still unspent.
fn add_own(tx: &WriteTx<'_>, recovery_id: &OperationId, id: VtxoId) -> Result<()> {
    let vtxo = vtxo_body::get(tx, id)?;
    let found = FoundVtxo {
        id,
        source: CandidateSource::Own,
        key_index: key::index_of(tx, &vtxo.user_pubkey())?,
        body: Some(vtxo.serialize()),
        state: None,
    };
    Ok(recovery::add(tx, recovery_id, &found)?)
}

fn older_database() -> Attention {
    Attention {
        code: OLDER_DATABASE.into(),
        subject: String::new(),
        message: "This database is older than the wallet: the Ark server knows VTXOs that a newer copy of it has made. The wallet asks the server and the chain which VTXOs are still its own, and spends nothing before.".into(),
        what_to_do: "Wait until the recovery in GET /wallet has ended. If another daemon still runs with the same seed, stop it: two copies cannot share a wallet. If the Ark server is gone for good, exit the VTXOs.".into(),
    }
}
