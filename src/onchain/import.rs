//! An on-chain wallet of another program with the same addresses, as the change that the store keeps of ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use bdk_wallet::chain::{BlockId, ConfirmationBlockTime, DescriptorExt, Merge};
use bdk_wallet::{ChangeSet, KeychainKind, Wallet};
use bitcoin::bip32::Xpriv;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, Txid};

use super::Error;
use super::load::descriptor;
use super::state::{encode, restore};
use crate::store::barkd::BarkdChain;

/// The stored change of the wallet with this root that knows of the chain what barkd knows.
///
/// # Errors
/// [`Error::Mismatch`] if the parts do not make a wallet.
pub fn imported_change(root: &Xpriv, network: Network, known: BarkdChain) -> Result<String, Error> {
    let mismatch = |error: &dyn std::fmt::Display| Error::Mismatch(error.to_string());
    let descriptor = descriptor(root, &Secp256k1::new(), network)?;
    let mut wallet = Wallet::create_single(descriptor.clone())
        .network(network)
        .create_wallet_no_persist()
        .map_err(|error| mismatch(&error))?;
    let mut all = wallet.take_staged().unwrap_or_default();
    let descriptor_id = wallet
        .public_descriptor(KeychainKind::External)
        .descriptor_id();

    let mut change = ChangeSet::default();
    let blocks = known.blocks.into_iter();
    change.local_chain.blocks = blocks.map(|(height, hash)| (height, Some(hash))).collect();
    change.tx_graph.txs = known.transactions.into_iter().map(Arc::new).collect();
    change.tx_graph.txouts = known.outputs.into_iter().collect();
    change.tx_graph.anchors = known
        .confirmations
        .into_iter()
        .map(|(txid, height, hash, confirmation_time)| {
            let block_id = BlockId { height, hash };
            let anchor = ConfirmationBlockTime {
                block_id,
                confirmation_time,
            };
            (anchor, txid)
        })
        .collect();
    let times = |which: usize| -> BTreeMap<Txid, u64> {
        let seen = known.sightings.iter();
        seen.filter_map(|(txid, times)| Some((*txid, times[which]?)))
            .collect()
    };
    change.tx_graph.first_seen = times(0);
    change.tx_graph.last_seen = times(1);
    change.tx_graph.last_evicted = times(2);
    let last = known.last_address.map(|index| (descriptor_id, index));
    change.indexer.last_revealed = last.into_iter().collect();
    all.merge(change);
    restore(all.clone(), descriptor, network)?;
    encode(&all)
}
