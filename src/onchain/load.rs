//! Loads the on-chain wallet from the store, or creates it with a first scan of the chain.

use bdk_wallet::chain::{BlockId, Merge};
use bdk_wallet::template::Bip86Public;
use bdk_wallet::{ChangeSet, KeychainKind, Update, Wallet};
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{Network, NetworkKind};
use bitcoin_ext::BlockHeight;

use super::Error;
use super::state::{LOOKAHEAD, State, decode, encode, restore};
use crate::chain::{self, ChainSource, Tip, WalletSource};
use crate::store::{self, Store};

/// Where the first scan of the chain begins. It has no effect on a wallet that is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanStart {
    /// At the tip: a new wallet cannot have received anything before.
    Tip,
    /// At the first block: a restored wallet may have received at any time.
    Full,
    /// At this height: a restored wallet has received nothing in earlier blocks. A backend that looks up addresses ignores the
    /// height.
    From(BlockHeight),
}

/// Loads the state from the store. If the store has none, creates it with a first scan.
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
    state.apply_recorded(rows);
    state.collect_changes();

    if changes.len() != 1 || !state.unsaved.is_empty() {
        merged.merge(std::mem::take(&mut state.unsaved));
        let (compacted, applied) = (encode(&merged)?, state.applied_row);
        store
            .write(move |tx| {
                store::onchain::replace_changes(tx, &compacted)?;
                store::onchain::forget_transactions(tx, applied)
            })
            .await?;
    }
    Ok(state)
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

/// The update of a first scan from `height`. For a backend that serves blocks it only sets the block after which later syncs
/// scan.
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

/// The height of the first block that can pay a taproot address; all our addresses are taproot.
fn first_taproot_block(network: Network) -> BlockHeight {
    match network {
        Network::Bitcoin => BlockHeight::new(709_632),
        _ => BlockHeight::ZERO,
    }
}

/// An update without transactions, after which syncs begin with the block after `block`.
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

/// The descriptor tr(m/86'/c'/0'/0/*), with public keys only.
pub(super) fn descriptor(
    root: &Xpriv,
    secp: &Secp256k1<All>,
    network: Network,
) -> Result<Bip86Public<Xpub>, Error> {
    let coin = match NetworkKind::from(network) {
        NetworkKind::Main => 0,
        NetworkKind::Test => 1,
    };
    let path = [86, coin, 0].map(|index| ChildNumber::Hardened { index });
    let mut account = root
        .derive_priv(secp, &path)
        .map_err(|error| Error::Mismatch(error.to_string()))?;
    let public = Xpub::from_priv(secp, &account);
    account.private_key.non_secure_erase();
    Ok(Bip86Public(
        public,
        root.fingerprint(secp),
        KeychainKind::External,
    ))
}
