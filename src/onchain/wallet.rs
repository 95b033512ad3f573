//! The on-chain wallet: what its clones share, and its reads.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bdk_wallet::KeychainKind;
use bitcoin::bip32::Xpriv;
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{Address, Network, Transaction, Txid};

use super::Error;
use super::load::{self, ScanStart};
use super::state::State;
use super::view::{OnchainBalance, OnchainTransaction, OnchainUtxo, View};
use crate::chain::{self, ChainSource};
use crate::store::{self, Store};

/// A handle to the on-chain wallet. Clones share it.
#[derive(Clone)]
pub struct OnchainWallet(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) chain: ChainSource,
    /// The private key that signs.
    pub(super) root: Xpriv,
    pub(super) secp: Secp256k1<All>,
    state: Mutex<State>,
    view: ArcSwap<View>,
    /// The number of syncs that were started.
    pub(super) syncs_started: AtomicU64,
    /// The last finished sync. Locked by the running one, so that there is one at a time.
    pub(super) last_sync: tokio::sync::Mutex<LastSync>,
}

/// The last finished sync.
#[derive(Default)]
pub(super) struct LastSync {
    /// Its position in the order in which syncs were started, beginning with 1.
    pub(super) number: u64,
    pub(super) failure: Option<chain::Error>,
    /// The mempool transactions that were already fetched, for a backend that serves blocks.
    pub(super) fetched_mempool: HashSet<Txid>,
}

/// Wipes the signing key. Copies that derivations make on the stack of other crates cannot be wiped from here.
impl Drop for Shared {
    fn drop(&mut self) {
        self.root.private_key.non_secure_erase();
    }
}

impl OnchainWallet {
    /// Loads the wallet of the master key `root`, or creates it and scans the chain from `start`.
    ///
    /// With an Esplora server the scan happens here. Nothing is stored before it has succeeded, so the next call repeats a
    /// failed scan. With bitcoind a scan takes hours on a large chain, so it is left to the first [`sync`](Self::sync), which
    /// saves its progress.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the store holds the wallet of another seed or network; [`Error::Chain`] when the first scan
    /// fails. Loading a stored wallet does not need the chain.
    pub async fn load(
        store: Store,
        chain: ChainSource,
        root: &Xpriv,
        network: Network,
        start: ScanStart,
    ) -> Result<OnchainWallet, Error> {
        let secp = Secp256k1::new();
        let state = load::load(&store, &chain, root, &secp, network, start).await?;
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

    /// A new address. It is on disk before it is returned.
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

    /// The balance as of the last sync, with our own transactions since then.
    pub fn balance(&self) -> OnchainBalance {
        self.0.view.load().balance
    }

    /// The unspent outputs, in no particular order.
    pub fn utxos(&self) -> Vec<OnchainUtxo> {
        self.0.view.load().utxos.clone()
    }

    /// The transactions, oldest first, unconfirmed ones last.
    pub fn transactions(&self) -> Vec<OnchainTransaction> {
        self.0.view.load().transactions.clone()
    }

    /// A transaction that the wallet has ever seen, also one that has left the chain; `None` if it has not.
    pub fn transaction(&self, txid: Txid) -> Option<Transaction> {
        let found = self.0.state().wallet.tx_graph().get_tx(txid);
        found.map(|transaction| (*transaction).clone())
    }

    /// Applies the transactions that were recorded and committed since the last call. Call it after a commit that contains a
    /// [`record`](Self::record), so that the balance includes the transaction at once; syncs and spends call it themselves.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn catch_up(&self) -> Result<(), Error> {
        let applied = self.0.state().applied_row;
        let rows = self
            .0
            .store
            .read(move |connection| store::onchain::transactions_after(connection, applied))
            .await?;
        if !rows.is_empty() {
            let mut state = self.0.state();
            state.apply_recorded(rows);
            self.0.publish(&state);
        }
        Ok(())
    }

    /// Writes the changes that are not on disk yet.
    pub(super) async fn save(&self) -> Result<(), Error> {
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
    /// The state. A panic of another holder leaves it consistent: BDK applies a change as a whole, and the rest are plain sets.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the view that readers see.
    pub(super) fn publish(&self, state: &State) {
        self.view.store(Arc::new(View::of(&state.wallet)));
    }
}

/// The time in Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
