//! VTXO records for the unit tests of this folder.

use std::sync::Arc;

use ark_lib::vtxo::VtxoPolicyKind;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::SecretKey;
use bitcoin::{Amount, OutPoint, Txid, Weight};
use bitcoin_ext::{BlockDelta, BlockHeight};

use crate::model::{VtxoRecord, VtxoState};

/// A spendable VTXO with an id of its own for each `number`. Its exit weighs 1,000 weight units.
pub(super) fn vtxo(number: usize, amount: u64, expiry: u32, depth: u16) -> Arc<VtxoRecord> {
    let point = OutPoint::new(Txid::hash(&number.to_be_bytes()), 0);
    let key = SecretKey::from_slice(&[7; 32])
        .unwrap()
        .public_key(&ark_lib::SECP);
    Arc::new(VtxoRecord {
        id: point.into(),
        amount: Amount::from_sat(amount),
        policy: VtxoPolicyKind::Pubkey,
        user_pubkey: key,
        server_pubkey: key,
        expiry_height: BlockHeight::new(expiry),
        exit_delta: BlockDelta::new(12),
        chain_anchor: point,
        exit_depth: depth,
        exit_tx_weight: Weight::from_wu(1_000),
        state: VtxoState::Spendable,
        claimed: false,
        registered: true,
    })
}
