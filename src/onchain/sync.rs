//! Syncs the on-chain wallet with the chain, and broadcasts our own transactions (docs/protocol.md §10).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bdk_wallet::chain::CheckPoint;
use bitcoin::{Transaction, Txid};

use super::graph::{may_evict, own_unseen, parents_of, with_unconfirmed_ancestors};
use super::wallet::now;
use super::{Error, OnchainWallet};
use crate::chain::{self, BroadcastError, Esplora, WalletSource};

impl OnchainWallet {
    /// Finds our transactions in the chain and the mempool, then broadcasts our own transactions that the backend does not list.
    ///
    /// One sync runs at a time. Callers that arrive while a sync runs share the next one, because the running one may have
    /// missed what happened before their call.
    ///
    /// # Errors
    /// [`Error::Chain`] when the backend fails. A failed broadcast is only logged.
    pub async fn sync(&self) -> Result<(), Error> {
        let started_before = self.0.syncs_started.load(Ordering::SeqCst);
        let mut last = self.0.last_sync.lock().await;
        if last.number > started_before {
            return last
                .failure
                .clone()
                .map_or(Ok(()), |error| Err(error.into()));
        }
        let number = self.0.syncs_started.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = self.run_sync(&mut last.fetched_mempool).await;
        let failure = match &outcome {
            Ok(()) => None,
            Err(Error::Chain(error)) => Some(error.clone()),
            // Not a failure of the chain, so it is not shared: the next caller runs a sync of its own.
            Err(_) => return outcome,
        };
        last.number = number;
        last.failure = failure;
        outcome
    }

    async fn run_sync(&self, fetched_mempool: &mut HashSet<Txid>) -> Result<(), Error> {
        self.catch_up().await?;
        let started = now();
        match self.0.chain.wallet_source().await? {
            WalletSource::Addresses(esplora) => self.sync_from_addresses(esplora, started).await?,
            WalletSource::Blocks(node) => {
                self.sync_from_blocks(node, fetched_mempool, started)
                    .await?;
            }
        }
        self.save().await?;
        self.rebroadcast(started).await
    }

    /// The sync from a backend that looks up addresses.
    async fn sync_from_addresses(&self, esplora: &Esplora, started: u64) -> Result<(), Error> {
        let request = {
            let state = self.0.state();
            state
                .wallet
                .start_sync_with_revealed_spks_at(started)
                .build()
        };
        let mut update = esplora.sync_wallet(request).await?;
        let mut state = self.0.state();
        let evicted = &mut update.tx_update.evicted_ats;
        evicted.retain(|(txid, _)| may_evict(&state.wallet, *txid, started));
        let newest = update.chain.as_ref().map(CheckPoint::height);
        if let Err(error) = state.wallet.apply_update(update.clone()) {
            // BDK cannot connect the update, because the wallet has blocks above the server's tip.
            tracing::warn!(%error, "dropping the on-chain wallet's blocks above the tip");
            state.forget_blocks_above(newest.unwrap_or(u32::MAX))?;
            let applied = state.wallet.apply_update(update);
            applied.map_err(|error| chain::Error::Invalid(error.to_string()))?;
        }
        state.collect_changes();
        self.0.publish(&state);
        Ok(())
    }

    /// Broadcasts our unconfirmed transactions that the sync that started at `started` did not find. Those that are provably
    /// double-spent are evicted, with their descendants.
    pub(super) async fn rebroadcast(&self, started: u64) -> Result<(), Error> {
        let unseen = own_unseen(&self.0.state().wallet, started);
        let mut failed = HashSet::new();
        let mut double_spent = HashSet::new();
        for transaction in unseen {
            let txid = transaction.compute_txid();
            if parents_of(&transaction).any(|parent| double_spent.contains(&parent)) {
                double_spent.insert(txid);
                continue;
            }
            if parents_of(&transaction).any(|parent| failed.contains(&parent)) {
                failed.insert(txid);
                continue;
            }
            let package = [Transaction::clone(&transaction)];
            let Err(error) = self.0.chain.broadcast_package(&package).await else {
                continue;
            };
            tracing::warn!(%txid, %error, "broadcast of an on-chain transaction failed; the next sync retries");
            failed.insert(txid);
            match error {
                BroadcastError::Unavailable(_) => break,
                BroadcastError::MissingOrSpent if self.is_double_spent(&transaction).await => {
                    double_spent.insert(txid);
                }
                _ => {}
            }
        }
        if double_spent.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.0.state();
            let at = now();
            state
                .wallet
                .apply_evicted_txs(double_spent.iter().map(|txid| (*txid, at)));
            state.collect_changes();
            self.0.publish(&state);
        }
        tracing::warn!(
            ?double_spent,
            "on-chain transactions were double-spent; removed from the wallet"
        );
        self.save().await
    }

    /// Whether the backend proves that this transaction or an unconfirmed ancestor is double-spent. A failed request proves
    /// nothing.
    async fn is_double_spent(&self, transaction: &Arc<Transaction>) -> bool {
        let ancestry = with_unconfirmed_ancestors(&self.0.state().wallet, transaction);
        for transaction in ancestry {
            if let Ok(true) = self.0.chain.is_double_spent(&transaction).await {
                return true;
            }
        }
        false
    }
}
