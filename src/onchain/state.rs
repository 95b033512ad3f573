//! The BDK wallet in memory, with what is not in the database yet.

use std::collections::{BTreeSet, HashSet};

use bdk_wallet::chain::{DescriptorExt, Merge};
use bdk_wallet::descriptor::IntoWalletDescriptor;
use bdk_wallet::{AddressInfo, ChangeSet, KeychainKind, Wallet};
use bitcoin::{Network, OutPoint};

use super::Error;
use crate::store::onchain::TransactionRow;
use crate::store::{self, WriteTx};

/// The number of addresses after the last used one that block scans look for (docs/protocol.md §1.5).
pub(super) const LOOKAHEAD: u32 = 50;

/// The mutable state of the on-chain wallet. A lock protects it.
pub(super) struct State {
    /// The BDK wallet. It has no private keys.
    pub(super) wallet: Wallet,
    /// The changes that are not in the database yet.
    pub(super) unsaved: ChangeSet,
    /// Grows with every addition to `unsaved`.
    revision: u64,
    /// The row id of the last recorded transaction that `wallet` contains.
    pub(super) applied_row: i64,
    /// The coins of transactions that no operation holds yet.
    pub(super) reserved: HashSet<OutPoint>,
    /// Change indexes that were revealed for transactions that did not use them.
    pub(super) spare_change: BTreeSet<u32>,
}

impl State {
    pub(super) fn new(wallet: Wallet) -> State {
        State {
            wallet,
            unsaved: ChangeSet::default(),
            revision: 0,
            applied_row: 0,
            reserved: HashSet::new(),
            spare_change: BTreeSet::new(),
        }
    }

    /// An address for change that nobody was given: one that an earlier transaction did not use, else a new one.
    pub(super) fn take_change_address(&mut self) -> AddressInfo {
        match self.spare_change.pop_first() {
            Some(index) => self.wallet.peek_address(KeychainKind::External, index),
            None => self.wallet.reveal_next_address(KeychainKind::External),
        }
    }

    /// Moves the changes that BDK has staged to the unsaved changes.
    pub(super) fn collect_changes(&mut self) {
        if let Some(staged) = self.wallet.take_staged() {
            self.unsaved.merge(staged);
            self.revision += 1;
        }
    }

    /// Adds recorded transactions to the wallet, as unconfirmed ones.
    pub(super) fn apply_recorded(&mut self, rows: Vec<TransactionRow>) {
        for row in rows {
            self.wallet
                .apply_unconfirmed_txs([(row.transaction, row.recorded_at)]);
            self.applied_row = self.applied_row.max(row.id);
        }
        self.collect_changes();
    }

    /// Removes the blocks above `height` from the wallet. BDK keeps them, and refuses an update that does not connect to them.
    /// It has no method that removes blocks, so the wallet is rebuilt from a change set without them.
    pub(super) fn forget_blocks_above(&mut self, height: u32) -> Result<(), Error> {
        self.collect_changes();
        let wallet = &self.wallet;
        let descriptor = wallet.public_descriptor(KeychainKind::External).clone();
        let revealed = wallet.derivation_index(KeychainKind::External);
        let mut all = ChangeSet {
            descriptor: Some(descriptor.clone()),
            network: Some(wallet.network()),
            local_chain: wallet.local_chain().initial_changeset(),
            tx_graph: wallet.tx_graph().initial_changeset(),
            ..ChangeSet::default()
        };
        let revealed = revealed.map(|index| (descriptor.descriptor_id(), index));
        all.indexer.last_revealed = revealed.into_iter().collect();
        let mut forgotten = ChangeSet::default();
        let heights = all.local_chain.blocks.keys().filter(|at| **at > height);
        forgotten.local_chain.blocks = heights.map(|at| (*at, None)).collect();
        all.merge(forgotten.clone());
        self.wallet = restore(all, descriptor, wallet.network())?;
        self.unsaved.merge(forgotten);
        self.revision += 1;
        Ok(())
    }

    /// Writes the unsaved changes and returns their revision. Pass it to [`saved`](Self::saved) after the commit.
    pub(super) fn write_unsaved(&self, tx: &WriteTx<'_>) -> Result<u64, Error> {
        if !self.unsaved.is_empty() {
            store::onchain::insert_change(tx, &encode(&self.unsaved)?)?;
        }
        store::onchain::forget_transactions(tx, self.applied_row)?;
        Ok(self.revision)
    }

    /// Drops the unsaved changes if they are those of `revision`, which is on disk now. Otherwise all of them stay, and some are
    /// written twice, which is harmless.
    pub(super) fn saved(&mut self, revision: u64) {
        if self.revision == revision {
            self.unsaved = ChangeSet::default();
        }
    }
}

/// Rebuilds the BDK wallet from its change set.
pub(super) fn restore(
    changes: ChangeSet,
    descriptor: impl IntoWalletDescriptor + Send + 'static,
    network: Network,
) -> Result<Wallet, Error> {
    Wallet::load()
        .descriptor(KeychainKind::External, Some(descriptor))
        .check_network(network)
        .lookahead(LOOKAHEAD)
        .load_wallet_no_persist(changes)
        .map_err(|error| Error::Mismatch(error.to_string()))?
        .ok_or_else(|| Error::Mismatch("its change set is empty".into()))
}

pub(super) fn encode(change: &ChangeSet) -> Result<String, Error> {
    serde_json::to_string(change)
        .map_err(|error| store::Error::corrupt("on-chain change", error).into())
}

pub(super) fn decode(change: &str) -> Result<ChangeSet, Error> {
    serde_json::from_str(change)
        .map_err(|error| store::Error::corrupt("on-chain change", error).into())
}
