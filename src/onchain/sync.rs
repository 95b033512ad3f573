//! Bringing the on-chain wallet up to date with the chain, and our own transactions into the mempool (docs/protocol.md §10).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bdk_wallet::Wallet;
use bdk_wallet::chain::CheckPoint;
use bitcoin::{Transaction, Txid};

use super::graph::{parents_first, parents_of};
use super::{Error, OnchainWallet, now};
use crate::chain::{self, BroadcastError, Esplora, TxStatus, WalletSource};

/// How long a transaction may be missing from the backend's lists before the wallet gives it up (H26), in seconds.
const EVICTION_GRACE: u64 = 30;

/// What the last finished sync achieved.
#[derive(Default)]
pub(super) struct LastSync {
    /// Its place in the order in which syncs were started.
    number: u64,
    failure: Option<chain::Error>,
    /// The transactions of the mempool that a wallet fed with blocks need not fetch again.
    looked_at: HashSet<Txid>,
}

impl OnchainWallet {
    /// Learns what the chain and the mempool have for us, then broadcasts our own transactions that the network does not show.
    ///
    /// One sync runs at a time. Whoever asks meanwhile waits for the next one and shares it, since the running one may have
    /// passed what they want to see.
    ///
    /// # Errors
    /// [`Error::Chain`] when the backend fails; a failed broadcast is only logged.
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
        let outcome = self.run_sync(&mut last.looked_at).await;
        let failure = match &outcome {
            Ok(()) => None,
            Err(Error::Chain(error)) => Some(error.clone()),
            // Not the chain's fault, so the next caller tries for itself.
            Err(_) => return outcome,
        };
        last.number = number;
        last.failure = failure;
        outcome
    }

    async fn run_sync(&self, looked_at: &mut HashSet<Txid>) -> Result<(), Error> {
        self.catch_up().await?;
        let started = now();
        match self.0.chain.wallet_source().await? {
            WalletSource::Addresses(esplora) => self.ask_for_addresses(esplora, started).await?,
            WalletSource::Blocks(node) => self.look_through(node, looked_at, started).await?,
        }
        self.save().await?;
        self.rebroadcast(started).await
    }

    async fn ask_for_addresses(&self, esplora: &Esplora, started: u64) -> Result<(), Error> {
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
            // The wallet knows blocks that the server no longer has, and cannot tell whether they are in its way.
            tracing::warn!(%error, "blocks above the tip are forgotten");
            state.forget_blocks_above(newest.unwrap_or(u32::MAX))?;
            let applied = state.wallet.apply_update(update);
            applied.map_err(|error| chain::Error::Invalid(error.to_string()))?;
        }
        state.collect_changes();
        self.0.publish(&state);
        Ok(())
    }

    /// Broadcasts our unconfirmed transactions that the sync begun at `started` did not find.
    pub(super) async fn rebroadcast(&self, started: u64) -> Result<(), Error> {
        let unseen = unseen_own(&self.0.state().wallet, started);
        let mut failed = HashSet::new();
        let mut lost = HashSet::new();
        for transaction in unseen {
            let txid = transaction.compute_txid();
            if parents_of(&transaction).any(|parent| lost.contains(&parent)) {
                lost.insert(txid);
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
            tracing::warn!(%txid, %error, "an on-chain transaction of ours was not broadcast");
            failed.insert(txid);
            match error {
                BroadcastError::Unavailable(_) => break,
                BroadcastError::MissingOrSpent if self.is_double_spent(&transaction).await => {
                    lost.insert(txid);
                }
                _ => {}
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.0.state();
            let at = now();
            state
                .wallet
                .apply_evicted_txs(lost.iter().map(|txid| (*txid, at)));
            state.collect_changes();
            self.0.publish(&state);
        }
        tracing::warn!(
            ?lost,
            "on-chain transactions of ours were double-spent and given up"
        );
        self.save().await
    }

    /// Whether a confirmed transaction spends an input of this one or of an unconfirmed one that it builds on. Anything less
    /// is no proof: a parent may only be late.
    async fn is_double_spent(&self, transaction: &Arc<Transaction>) -> bool {
        let chain = unconfirmed_ancestry(&self.0.state().wallet, transaction);
        for transaction in chain {
            let txid = transaction.compute_txid();
            for input in &transaction.input {
                if let Ok(Some(spend)) = self.0.chain.spender(input.previous_output).await
                    && spend.txid != txid
                    && matches!(spend.status, TxStatus::Confirmed { .. })
                {
                    return true;
                }
            }
        }
        false
    }
}

/// A transaction and all unconfirmed ones that it builds on.
fn unconfirmed_ancestry(wallet: &Wallet, transaction: &Arc<Transaction>) -> Vec<Arc<Transaction>> {
    let mut found = vec![Arc::clone(transaction)];
    let mut seen = HashSet::new();
    let mut next = 0;
    while let Some(transaction) = found.get(next).cloned() {
        next += 1;
        for parent in parents_of(&transaction).filter(|parent| seen.insert(*parent)) {
            let parent = wallet.get_tx(parent);
            if let Some(parent) = parent.filter(|parent| !parent.chain_position.is_confirmed()) {
                found.push(Arc::clone(&parent.tx_node.tx));
            }
        }
    }
    found
}

/// Whether a transaction that the backend no longer lists may be forgotten. Never one that spends our coins: it is broadcast
/// again until it confirms or is proven to be double-spent.
pub(super) fn may_evict(wallet: &Wallet, txid: Txid, now: u64) -> bool {
    wallet.get_tx(txid).is_none_or(|found| {
        let last_seen = found.tx_node.last_seen.unwrap_or(0);
        !spends_ours(wallet, &found.tx_node.tx) && last_seen + EVICTION_GRACE <= now
    })
}

fn spends_ours(wallet: &Wallet, transaction: &Transaction) -> bool {
    let inputs = &transaction.input;
    inputs
        .iter()
        .any(|input| wallet.spk_index().txout(input.previous_output).is_some())
}

/// Our unconfirmed transactions last seen before `started`, parents first.
pub(super) fn unseen_own(wallet: &Wallet, started: u64) -> Vec<Arc<Transaction>> {
    let unseen = wallet
        .transactions()
        .filter(|found| !found.chain_position.is_confirmed())
        .filter(|found| found.tx_node.last_seen.unwrap_or(0) < started)
        .filter(|found| spends_ours(wallet, &found.tx_node.tx))
        .map(|found| Arc::clone(&found.tx_node.tx))
        .collect();
    parents_first(unseen)
}
