//! The BDK wallet in memory, and how it is built from the store's rows and written back.

use std::collections::{BTreeSet, HashSet};

use bdk_wallet::chain::{BlockId, DescriptorExt, Merge};
use bdk_wallet::descriptor::IntoWalletDescriptor;
use bdk_wallet::template::Bip86Public;
use bdk_wallet::{ChangeSet, KeychainKind, Update, Wallet};
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{Network, NetworkKind, OutPoint};
use bitcoin_ext::BlockHeight;

use super::{Error, ScanStart};
use crate::chain::{self, ChainSource, Tip, WalletSource};
use crate::store::onchain::TransactionRow;
use crate::store::{self, Store, WriteTx};

/// How many addresses beyond the last used one are looked for in blocks (docs/protocol.md §1.5).
const LOOKAHEAD: u32 = 50;

/// What the lock protects.
pub(super) struct State {
    /// The wallet; it only knows public keys.
    pub(super) wallet: Wallet,
    /// What the wallet learned and no successful write contains yet.
    unsaved: ChangeSet,
    /// Grows with every addition to `unsaved`.
    revision: u64,
    /// The last recorded transaction that the wallet has taken over.
    pub(super) followed: i64,
    /// The coins of fundings that no operation holds yet.
    pub(super) reserved: HashSet<OutPoint>,
    /// Change indexes that were revealed for fundings and not used after all.
    pub(super) spare_change: BTreeSet<u32>,
}

impl State {
    fn new(wallet: Wallet) -> State {
        State {
            wallet,
            unsaved: ChangeSet::default(),
            revision: 0,
            followed: 0,
            reserved: HashSet::new(),
            spare_change: BTreeSet::new(),
        }
    }

    /// Takes what the wallet has staged over into the unsaved changes.
    pub(super) fn collect_changes(&mut self) {
        if let Some(staged) = self.wallet.take_staged() {
            self.unsaved.merge(staged);
            self.revision += 1;
        }
    }

    /// Takes over recorded transactions, as unconfirmed ones.
    pub(super) fn follow(&mut self, rows: Vec<TransactionRow>) {
        for row in rows {
            self.wallet
                .apply_unconfirmed_txs([(row.transaction, row.recorded_at)]);
            self.followed = self.followed.max(row.id);
        }
        self.collect_changes();
    }

    /// Forgets the blocks above `height`. BDK never does so by itself, and refuses a chain that does not say what became of
    /// them. It has no way to do it to a living wallet either, so this builds it anew.
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

    /// Writes the unsaved changes; [`saved`](Self::saved) drops them once this is committed.
    pub(super) fn write_unsaved(&self, tx: &WriteTx<'_>) -> Result<u64, Error> {
        if !self.unsaved.is_empty() {
            store::onchain::insert_change(tx, &encode(&self.unsaved)?)?;
        }
        store::onchain::forget_transactions(tx, self.followed)?;
        Ok(self.revision)
    }

    /// Notes that the changes of `revision` are on disk. Those that came since keep the older ones with them; writing a
    /// change twice is harmless.
    pub(super) fn saved(&mut self, revision: u64) {
        if self.revision == revision {
            self.unsaved = ChangeSet::default();
        }
    }
}

/// Builds the state from the store, or creates it after a first scan.
pub(super) async fn load(
    store: &Store,
    chain: &ChainSource,
    root: &Xpriv,
    secp: &Secp256k1<All>,
    network: Network,
    start: ScanStart,
) -> Result<State, Error> {
    let (changes, rows) = store
        .read(|connection| {
            let changes = store::onchain::changes(connection)?;
            let rows = store::onchain::transactions_after(connection, 0)?;
            Ok::<_, store::Error>((changes, rows))
        })
        .await?;
    let descriptor = descriptor(root, secp, network)?;
    let mut merged = ChangeSet::default();
    for change in &changes {
        merged.merge(decode(change)?);
    }

    let mut state = if changes.is_empty() {
        State::new(create(chain, descriptor, network, start).await?)
    } else {
        State::new(restore(merged.clone(), descriptor, network)?)
    };
    state.follow(rows);
    state.collect_changes();

    if changes.len() != 1 || !state.unsaved.is_empty() {
        merged.merge(std::mem::take(&mut state.unsaved));
        let (compacted, followed) = (encode(&merged)?, state.followed);
        store
            .write(move |tx| {
                store::onchain::replace_changes(tx, &compacted)?;
                store::onchain::forget_transactions(tx, followed)
            })
            .await?;
    }
    Ok(state)
}

fn restore(
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
        .ok_or_else(|| Error::Mismatch("it has no beginning".into()))
}

async fn create(
    chain: &ChainSource,
    descriptor: Bip86Public<Xpub>,
    network: Network,
    start: ScanStart,
) -> Result<Wallet, Error> {
    let mut wallet = Wallet::create_single(descriptor)
        .network(network)
        .lookahead(LOOKAHEAD)
        .create_wallet_no_persist()
        .map_err(|error| Error::Mismatch(error.to_string()))?;
    let update = match start {
        ScanStart::Tip => starting_after(&wallet, chain.tip().await?),
        ScanStart::Full => scan(chain, &wallet, BlockHeight::ZERO).await?,
        ScanStart::From(height) => scan(chain, &wallet, height).await?,
    };
    wallet
        .apply_update(update)
        .map_err(|error| chain::Error::Invalid(error.to_string()))?;
    Ok(wallet)
}

/// Scans the chain from `height`, or says where the blocks begin that later syncs have to look through.
async fn scan(
    chain: &ChainSource,
    wallet: &Wallet,
    height: BlockHeight,
) -> Result<Update, chain::Error> {
    let node = match chain.wallet_source().await? {
        WalletSource::Addresses(esplora) => {
            let request = wallet.start_full_scan().build();
            return esplora.scan_wallet(request).await;
        }
        WalletSource::Blocks(node) => node,
    };
    let tip = chain.tip().await?;
    let first = height.max(first_taproot_block(wallet.network()));
    let Some(before) = first.to_u32().checked_sub(1).map(BlockHeight::new) else {
        return Ok(Update::default());
    };
    if before >= tip.height {
        return Ok(starting_after(wallet, tip));
    }
    let hash = node.block_hash(before).await?;
    let height = before;
    Ok(starting_after(wallet, Tip { height, hash }))
}

/// The first block in which our addresses, which are all taproot, can have received something.
fn first_taproot_block(network: Network) -> BlockHeight {
    match network {
        Network::Bitcoin => BlockHeight::new(709_632),
        _ => BlockHeight::ZERO,
    }
}

fn starting_after(wallet: &Wallet, block: Tip) -> Update {
    let block = BlockId {
        height: block.height.to_u32(),
        hash: block.hash,
    };
    Update {
        chain: Some(wallet.latest_checkpoint().insert(block)),
        ..Update::default()
    }
}

/// The descriptor tr(m/86'/c'/0'/0/*) of the seed, without its private keys.
fn descriptor(
    root: &Xpriv,
    secp: &Secp256k1<All>,
    network: Network,
) -> Result<Bip86Public<Xpub>, Error> {
    let coin = match NetworkKind::from(network) {
        NetworkKind::Main => 0,
        NetworkKind::Test => 1,
    };
    let path = [86, coin, 0].map(|index| ChildNumber::Hardened { index });
    let account = root
        .derive_priv(secp, &path)
        .map_err(|error| Error::Mismatch(error.to_string()))?;
    let account = Xpub::from_priv(secp, &account);
    Ok(Bip86Public(
        account,
        root.fingerprint(secp),
        KeychainKind::External,
    ))
}

fn encode(change: &ChangeSet) -> Result<String, Error> {
    serde_json::to_string(change)
        .map_err(|error| store::Error::corrupt("on-chain change", error).into())
}

fn decode(change: &str) -> Result<ChangeSet, Error> {
    serde_json::from_str(change)
        .map_err(|error| store::Error::corrupt("on-chain change", error).into())
}
