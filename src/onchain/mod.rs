//! The wallet's bitcoin on the chain: a BDK wallet with one keychain, m/86'/c'/0'/0/* (docs/protocol.md §1.2, §10).
//!
//! # What is in memory and what is on disk
//!
//! The BDK wallet lives in memory; the store holds what it takes to build it again: change sets, our own transactions that
//! no change set contains yet, and the coins that operations hold. The rules that keep the two together:
//!
//! - A transaction of ours and a hold belong to the caller's database transaction. They are only written there, and memory
//!   takes them over with [`OnchainWallet::catch_up`] once they are committed, so a rollback has nothing to undo.
//! - Coins are picked in the store's writer thread, where every earlier write is either visible or undone. There is no
//!   moment at which a coin is free in memory and taken on disk.
//! - Memory may be ahead of the disk with what can be had again: revealed indexes and what the chain said. Both are kept
//!   until a write of them has succeeded.
//!
//! Reads come from a view that is replaced after each change; they take no lock. The lock around the BDK wallet is never held
//! during a request to the network.

mod blocks;
#[cfg(test)]
mod chain_tests;
mod error;
mod funding;
mod graph;
mod select;
mod spend;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod view;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bdk_wallet::KeychainKind;
use bitcoin::bip32::Xpriv;
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{Address, Network};
use bitcoin_ext::BlockHeight;

use crate::chain::ChainSource;
use crate::store::{self, Store};
pub use error::Error;
pub use funding::{Funding, FundingAmount};
pub use spend::Payment;
use state::State;
use view::View;
pub use view::{OnchainBalance, OnchainTransaction, OnchainUtxo};

/// Where the first scan of the chain begins. It only matters while nothing is stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanStart {
    /// A new wallet, which cannot have received anything yet.
    Tip,
    /// A restored wallet: look for all it ever received.
    Full,
    /// A restored wallet that received nothing in blocks below this height. A backend that is asked about addresses makes
    /// no use of it.
    From(BlockHeight),
}

struct Shared {
    store: Store,
    chain: ChainSource,
    root: Xpriv,
    secp: Secp256k1<All>,
    state: Mutex<State>,
    view: ArcSwap<View>,
    /// How many syncs were started.
    syncs_started: AtomicU64,
    /// Held by the running sync, so that there is one at a time; what the last one achieved.
    last_sync: tokio::sync::Mutex<sync::LastSync>,
}

/// A handle to the on-chain wallet. Clones share it.
#[derive(Clone)]
pub struct OnchainWallet(Arc<Shared>);

impl OnchainWallet {
    /// Loads the wallet of the seed behind `root`, or creates it, to be scanned from `start`.
    ///
    /// With an Esplora server the scan is done here, and nothing is stored before it has succeeded, so a failed one is
    /// repeated by the next call. With a bitcoind it takes hours on a large chain, so it is left to the first
    /// [`sync`](Self::sync), which keeps what it has when it is interrupted.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the store holds another seed's or network's wallet; [`Error::Chain`] when the first scan
    /// fails. A wallet that is stored already loads without the chain.
    pub async fn load(
        store: Store,
        chain: ChainSource,
        root: &Xpriv,
        network: Network,
        start: ScanStart,
    ) -> Result<OnchainWallet, Error> {
        let secp = Secp256k1::new();
        let state = state::load(&store, &chain, root, &secp, network, start).await?;
        let view = View::of(&state.wallet);
        Ok(OnchainWallet(Arc::new(Shared {
            store,
            chain,
            root: *root,
            secp,
            state: Mutex::new(state),
            view: ArcSwap::from_pointee(view),
            syncs_started: AtomicU64::new(0),
            last_sync: tokio::sync::Mutex::default(),
        })))
    }

    /// A fresh address; it is on disk before it is returned.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn next_address(&self) -> Result<Address, Error> {
        let address = {
            let mut state = self.0.state();
            let revealed = state.wallet.reveal_next_address(KeychainKind::External);
            state.collect_changes();
            revealed.address
        };
        self.save().await?;
        Ok(address)
    }

    /// The balance as of the last sync and our own transactions since.
    pub fn balance(&self) -> OnchainBalance {
        self.0.view.load().balance
    }

    /// The coins, in no order.
    pub fn utxos(&self) -> Vec<OnchainUtxo> {
        self.0.view.load().utxos.clone()
    }

    /// The transactions, oldest first, unconfirmed last.
    pub fn transactions(&self) -> Vec<OnchainTransaction> {
        self.0.view.load().transactions.clone()
    }

    /// Takes over what was recorded and committed since the last call. To be called after a commit that contains a
    /// [`record`](Self::record), so that the balance shows it at once; syncs and spends do it by themselves.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn catch_up(&self) -> Result<(), Error> {
        let followed = self.0.state().followed;
        let rows = self
            .0
            .store
            .read(move |connection| store::onchain::transactions_after(connection, followed))
            .await?;
        if !rows.is_empty() {
            let mut state = self.0.state();
            state.follow(rows);
            self.0.publish(&state);
        }
        Ok(())
    }

    /// Writes the changes that are not on disk yet.
    async fn save(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        let revision = self
            .0
            .store
            .write(move |tx| shared.state().write_unsaved(tx))
            .await?;
        self.0.state().saved(revision);
        Ok(())
    }
}

impl Shared {
    /// The state. A panic elsewhere leaves it consistent: BDK applies a change as a whole, and the rest are plain sets.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `state` to readers.
    fn publish(&self, state: &State) {
        self.view.store(Arc::new(View::of(&state.wallet)));
    }
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
