//! Checks an issued round before any input is forfeited for it (docs/protocol.md §4.16).

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

/// The library's names of the transitions that the unlock preimage completes.
const HASH_LOCKED: [&str; 2] = ["hash-locked-cosigned-v1", "hash-locked-cosigned"];

/// The properties that an issued round must have.
pub(super) struct ExpectedRound<'a> {
    pub(super) server_pubkey: PublicKey,
    pub(super) exit_delta: BlockDelta,
    /// The lowest expiry height of the new VTXOs; `None` for any.
    pub(super) least_expiry: Option<BlockHeight>,
    pub(super) unlock_hash: UnlockHash,
    /// The requested VTXOs, in the order of the plan.
    pub(super) requests: &'a [VtxoRequest],
    /// The tree that the wallet signed; `None` if it signed none.
    pub(super) signed: Option<&'a SignedTree>,
}

/// Checks a round that the server reports as issued.
///
/// # Errors
/// The first difference from what is expected.
pub(super) fn check(issued: &IssuedRound, expected: &ExpectedRound<'_>) -> Result<(), String> {
    let IssuedRound {
        funding_tx,
        outputs,
        ..
    } = issued;
    if outputs.len() != expected.requests.len() {
        return Err(format!(
            "it has {} new VTXOs instead of {}",
            outputs.len(),
            expected.requests.len()
        ));
    }
    let distinct: HashSet<VtxoId> = outputs.iter().map(Vtxo::id).collect();
    if distinct.len() < outputs.len() {
        return Err("it has the same VTXO twice".into());
    }
    if let Some(signed) = expected.signed {
        let ids = outputs.iter().map(Vtxo::id);
        if funding_tx.compute_txid() != signed.funding_txid || !ids.eq(signed.vtxos.iter().copied())
        {
            return Err("its tree is not the one that the wallet signed".into());
        }
    }
    for (output, request) in outputs.iter().zip(expected.requests) {
        check_output(output, request, funding_tx, expected)
            .map_err(|reason| format!("new VTXO {}: {reason}", output.id()))?;
    }
    Ok(())
}

fn check_output(
    output: &Vtxo<Full>,
    request: &VtxoRequest,
    funding_tx: &Transaction,
    expected: &ExpectedRound<'_>,
) -> Result<(), String> {
    if output.amount() != request.amount || *output.policy() != request.policy {
        return Err("its amount or policy is not the requested one".into());
    }
    if output.server_pubkey() != expected.server_pubkey {
        return Err("it has another server's key".into());
    }
    if output.exit_delta() != expected.exit_delta {
        return Err(format!("its exit delay is {} blocks", output.exit_delta()));
    }
    if expected
        .least_expiry
        .is_some_and(|least| output.expiry_height() < least)
    {
        return Err(format!("it expires at height {}", output.expiry_height()));
    }
    if output.unlock_hash() != Some(expected.unlock_hash) {
        return Err("it is not locked by our unlock hash".into());
    }
    let anchor = OutPoint::new(funding_tx.compute_txid(), ROUND_TX_VTXO_TREE_VOUT);
    if output.chain_anchor() != anchor {
        return Err("it does not descend from the round's transaction".into());
    }
    lacks_only_its_preimage(output, funding_tx)
}

/// Checks that the last transition, which the preimage completes, is the only one that is not signed. The structure is checked
/// first, because the check of signatures stops at the lock and would not detect a forged leaf (H12).
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
        Ok(()) => Err("it is not locked".into()),
    }
}
