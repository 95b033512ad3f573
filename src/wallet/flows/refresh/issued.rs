//! What a round made for us: what it must be like before any input is given up for it (docs/protocol.md §4.16).

use std::collections::HashSet;

use ark_lib::rounds::ROUND_TX_VTXO_TREE_VOUT;
use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::{Full, VtxoValidationError};
use ark_lib::{Vtxo, VtxoId, VtxoRequest};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Transaction};
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::SignedTree;
use crate::ark::IssuedRound;

/// The transitions that the unlock preimage completes, as the library names them.
const HASH_LOCKED: [&str; 2] = ["hash-locked-cosigned-v1", "hash-locked-cosigned"];

/// What we go by.
pub(super) struct Terms<'a> {
    pub(super) server_pubkey: PublicKey,
    pub(super) exit_delta: BlockDelta,
    /// The new VTXOs live at least until here; `None` when the inputs have expired and anything is better.
    pub(super) least_expiry: Option<BlockHeight>,
    pub(super) unlock_hash: UnlockHash,
    /// What we asked for, in that order.
    pub(super) requests: &'a [VtxoRequest],
    /// What our own signatures lead to, if we signed.
    pub(super) signed: Option<&'a SignedTree>,
}

/// Checks a round as the server tells it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(issued: &IssuedRound, terms: &Terms<'_>) -> Result<(), String> {
    let IssuedRound {
        funding_tx,
        outputs,
        ..
    } = issued;
    if outputs.len() != terms.requests.len() {
        return Err(format!(
            "{} new VTXOs instead of {}",
            outputs.len(),
            terms.requests.len()
        ));
    }
    let distinct: HashSet<VtxoId> = outputs.iter().map(Vtxo::id).collect();
    if distinct.len() < outputs.len() {
        return Err("the same VTXO twice".into());
    }
    if let Some(signed) = terms.signed {
        let ids = outputs.iter().map(Vtxo::id);
        if funding_tx.compute_txid() != signed.funding_txid || !ids.eq(signed.vtxos.iter().copied())
        {
            return Err("another tree than the one that we signed".into());
        }
    }
    for (output, request) in outputs.iter().zip(terms.requests) {
        check_output(output, request, funding_tx, terms)
            .map_err(|reason| format!("new VTXO {}: {reason}", output.id()))?;
    }
    Ok(())
}

fn check_output(
    output: &Vtxo<Full>,
    request: &VtxoRequest,
    funding_tx: &Transaction,
    terms: &Terms<'_>,
) -> Result<(), String> {
    if output.amount() != request.amount || *output.policy() != request.policy {
        return Err("not what we asked for".into());
    }
    if output.server_pubkey() != terms.server_pubkey {
        return Err("another server's".into());
    }
    if output.exit_delta() != terms.exit_delta {
        return Err(format!("an exit delay of {} blocks", output.exit_delta()));
    }
    if terms
        .least_expiry
        .is_some_and(|least| output.expiry_height() < least)
    {
        return Err(format!("expires at height {}", output.expiry_height()));
    }
    if output.unlock_hash() != Some(terms.unlock_hash) {
        return Err("not locked by our hash".into());
    }
    let anchor = OutPoint::new(funding_tx.compute_txid(), ROUND_TX_VTXO_TREE_VOUT);
    if output.chain_anchor() != anchor {
        return Err("does not hang from the round's transaction".into());
    }
    lacks_only_its_preimage(output, funding_tx)
}

/// Whether everything about it is signed and right but for the last step, which the preimage will complete. The structure
/// is looked at first, because the look at signatures stops at the lock and would not see a forged end (H12).
fn lacks_only_its_preimage(output: &Vtxo<Full>, funding_tx: &Transaction) -> Result<(), String> {
    output
        .validate_unsigned(funding_tx)
        .map_err(|error| error.to_string())?;
    match output.validate(funding_tx) {
        Err(VtxoValidationError::GenesisTransition {
            genesis_idx,
            genesis_len,
            transition_kind,
            ..
        }) if genesis_idx + 1 == genesis_len && HASH_LOCKED.contains(&transition_kind) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("not locked".into()),
    }
}
