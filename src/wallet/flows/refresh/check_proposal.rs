//! Checks the tree that the server proposes to sign (docs/protocol.md §4.16), and signs it.

use ark_lib::musig::AggregatedNonce;
use ark_lib::rounds::{ROUND_TX_VTXO_TREE_VOUT, VtxoProposal};
use ark_lib::tree::signed::{UnlockHash, UnsignedVtxoTree, VtxoTreeSpec};
use ark_lib::{SignedVtxoRequest, VtxoId};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint};
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::attempt_keys::AttemptKeys;
use super::{BranchSignatures, SignedTree};

/// Children of an inner node of the tree.
const RADIX: usize = 4;

/// The properties that a proposed tree must have.
pub(super) struct ExpectedTree {
    pub(super) server_pubkey: PublicKey,
    pub(super) exit_delta: BlockDelta,
    pub(super) least_expiry: BlockHeight,
    pub(super) unlock_hash: UnlockHash,
    /// The levels that we have nonces for.
    pub(super) max_levels: usize,
}

/// A valid tree that contains the requested VTXOs.
pub(super) struct CheckedTree {
    tree: UnsignedVtxoTree,
    agg_nonces: Vec<AggregatedNonce>,
    /// The leaf of each request.
    leaves: Vec<usize>,
    signed: SignedTree,
}

/// Checks a proposal. The library's functions panic on some malformed trees; those are refused before they are called.
///
/// # Errors
/// The reason why the tree must not be signed.
pub(super) fn check(
    proposal: VtxoProposal,
    requests: &[SignedVtxoRequest],
    expected: &ExpectedTree,
) -> Result<CheckedTree, String> {
    let VtxoProposal {
        unsigned_round_tx,
        vtxos_spec: spec,
        cosign_agg_nonces,
        ..
    } = proposal;
    check_parameters(&spec, expected)?;
    if cosign_agg_nonces.len() != spec.nb_internal_nodes() {
        return Err(format!(
            "it has {} nonces for {} nodes",
            cosign_agg_nonces.len(),
            spec.nb_internal_nodes()
        ));
    }
    let funding = usize::try_from(ROUND_TX_VTXO_TREE_VOUT)
        .ok()
        .and_then(|vout| unsigned_round_tx.output.get(vout));
    if funding != Some(&spec.funding_tx_txout()) {
        return Err("its transaction does not fund the tree".into());
    }
    let leaves = own_leaves(&spec, requests, expected.unlock_hash)?;

    let funding_txid = unsigned_round_tx.compute_txid();
    let tree = spec.into_unsigned_tree(OutPoint::new(funding_txid, ROUND_TX_VTXO_TREE_VOUT));
    let vtxos = leaves
        .iter()
        .map(|leaf| {
            let transaction = tree.txs.get(*leaf).ok_or("the tree lacks a leaf")?;
            Ok(VtxoId::from(OutPoint::new(transaction.compute_txid(), 0)))
        })
        .collect::<Result<_, &str>>()?;
    Ok(CheckedTree {
        tree,
        agg_nonces: cosign_agg_nonces,
        leaves,
        signed: SignedTree {
            funding_txid,
            vtxos,
        },
    })
}

fn check_parameters(spec: &VtxoTreeSpec, expected: &ExpectedTree) -> Result<(), String> {
    if spec.server_pubkey != expected.server_pubkey {
        return Err("it has another server's key".into());
    }
    if spec.exit_delta != expected.exit_delta {
        return Err(format!(
            "its exit delay is {} blocks, not {}",
            spec.exit_delta, expected.exit_delta
        ));
    }
    if spec.expiry_height < expected.least_expiry {
        return Err(format!(
            "it expires at height {}, before {}",
            spec.expiry_height, expected.least_expiry
        ));
    }
    if spec.global_cosign_pubkeys.is_empty() {
        return Err("it has no cosigning key of the server".into());
    }
    let levels = u32::try_from(expected.max_levels).unwrap_or(u32::MAX);
    if spec.nb_leaves() < 2 || spec.nb_leaves() > RADIX.saturating_pow(levels) {
        return Err(format!("it has {} leaves", spec.nb_leaves()));
    }
    let total = spec
        .iter_vtxos()
        .try_fold(Amount::ZERO, |sum, leaf| sum.checked_add(leaf.vtxo.amount));
    if total.is_none_or(|total| total > Amount::MAX_MONEY) {
        return Err("its amounts overflow".into());
    }
    Ok(())
}

/// The leaf of each request. No leaf counts for two requests (H13).
fn own_leaves(
    spec: &VtxoTreeSpec,
    requests: &[SignedVtxoRequest],
    unlock_hash: UnlockHash,
) -> Result<Vec<usize>, String> {
    let leaves = spec
        .leaf_idxs_for_participation(unlock_hash, requests.iter().map(|request| &request.vtxo))
        .ok_or("it lacks a requested VTXO")?;
    let found = leaves.iter().map(|leaf| spec.vtxos.get(*leaf));
    let has_our_keys = found.zip(requests).all(|(leaf, request)| {
        leaf.is_some_and(|leaf| leaf.cosign_pubkey == Some(request.cosign_pubkey))
    });
    if !has_our_keys {
        return Err("it has another cosigning key for our VTXO".into());
    }
    Ok(leaves)
}

impl CheckedTree {
    /// Signs our branches. Consumes the nonces.
    ///
    /// # Errors
    /// The keys do not match the leaves.
    pub(super) fn sign(
        self,
        mut keys: AttemptKeys,
    ) -> Result<(SignedTree, Vec<BranchSignatures>), String> {
        let branches = keys.branches.iter_mut().zip(&self.leaves);
        let signatures = branches
            .map(|(branch, leaf)| {
                let nonces = std::mem::take(&mut branch.nonces);
                let signatures = self
                    .tree
                    .cosign_branch(&self.agg_nonces, *leaf, &branch.key, nonces)
                    .map_err(|error| error.to_string())?;
                Ok(BranchSignatures {
                    pubkey: branch.key.public_key(),
                    signatures,
                })
            })
            .collect::<Result<_, String>>()?;
        Ok((self.signed, signatures))
    }
}
