//! A tree that the server wants us to sign: what it must be like (docs/protocol.md §4.16), and the signing.

use ark_lib::musig::AggregatedNonce;
use ark_lib::rounds::{ROUND_TX_VTXO_TREE_VOUT, VtxoProposal};
use ark_lib::tree::signed::{UnlockHash, UnsignedVtxoTree, VtxoTreeSpec};
use ark_lib::{SignedVtxoRequest, VtxoId};
use bitcoin::hex::DisplayHex;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint};
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::secrets::AttemptSecrets;
use super::{BranchSignatures, SignedTree};

/// Children of an inner node, and so leaves per nonce.
const RADIX: usize = 4;

/// What we go by.
pub(super) struct Terms {
    pub(super) server_pubkey: PublicKey,
    pub(super) exit_delta: BlockDelta,
    /// The new VTXOs live at least until here.
    pub(super) least_expiry: BlockHeight,
    pub(super) unlock_hash: UnlockHash,
    /// Nonces of ours, and so the levels that the tree may have.
    pub(super) nonces: usize,
}

/// A tree that holds what we asked for.
pub(super) struct Checked {
    tree: UnsignedVtxoTree,
    agg_nonces: Vec<AggregatedNonce>,
    /// In the order of the requests.
    leaves: Vec<usize>,
    signed_tree: SignedTree,
}

/// Checks a proposal. Nothing that the library could stumble over gets past this.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(
    proposal: VtxoProposal,
    requests: &[SignedVtxoRequest],
    terms: &Terms,
) -> Result<Checked, String> {
    let VtxoProposal {
        unsigned_round_tx,
        vtxos_spec: spec,
        cosign_agg_nonces,
        ..
    } = proposal;
    check_parameters(&spec, terms)?;
    if cosign_agg_nonces.len() != spec.nb_internal_nodes() {
        return Err(format!(
            "{} nonces for {} nodes",
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
    let leaves = own_leaves(&spec, requests, terms.unlock_hash)?;

    let funding_txid = unsigned_round_tx.compute_txid();
    let tree = spec.into_unsigned_tree(OutPoint::new(funding_txid, ROUND_TX_VTXO_TREE_VOUT));
    let vtxos = leaves
        .iter()
        .map(|leaf| {
            let transaction = tree.txs.get(*leaf).ok_or("the tree lacks a leaf")?;
            Ok(VtxoId::from(OutPoint::new(transaction.compute_txid(), 0)))
        })
        .collect::<Result<_, &str>>()?;
    Ok(Checked {
        tree,
        agg_nonces: cosign_agg_nonces,
        leaves,
        signed_tree: SignedTree {
            funding_txid,
            vtxos,
        },
    })
}

fn check_parameters(spec: &VtxoTreeSpec, terms: &Terms) -> Result<(), String> {
    if spec.server_pubkey != terms.server_pubkey {
        return Err("it is another server's".into());
    }
    if spec.exit_delta != terms.exit_delta {
        return Err(format!(
            "its exit delay is {} blocks, not {}",
            spec.exit_delta, terms.exit_delta
        ));
    }
    if spec.expiry_height < terms.least_expiry {
        return Err(format!(
            "it expires at height {}, before {}",
            spec.expiry_height, terms.least_expiry
        ));
    }
    if spec.global_cosign_pubkeys.is_empty() {
        return Err("the server does not sign it".into());
    }
    let levels = u32::try_from(terms.nonces).unwrap_or(u32::MAX);
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

/// The leaves that are what we asked for, each for one request only (H13).
fn own_leaves(
    spec: &VtxoTreeSpec,
    requests: &[SignedVtxoRequest],
    unlock_hash: UnlockHash,
) -> Result<Vec<usize>, String> {
    let leaves = spec
        .leaf_idxs_for_participation(unlock_hash, requests.iter().map(|request| &request.vtxo))
        .ok_or("it lacks a VTXO that we asked for")?;
    let theirs = leaves.iter().map(|leaf| spec.vtxos.get(*leaf));
    let signed_by_us = theirs.zip(requests).all(|(leaf, ours)| {
        leaf.is_some_and(|leaf| leaf.cosign_pubkey == Some(ours.cosign_pubkey))
    });
    if !signed_by_us {
        return Err("it wants another to sign for our VTXO".into());
    }
    Ok(leaves)
}

impl Checked {
    /// Signs our branches. Uses up the nonces.
    ///
    /// # Errors
    /// The keys do not fit the leaves.
    pub(super) fn sign(
        self,
        mut secrets: AttemptSecrets,
    ) -> Result<(SignedTree, Vec<BranchSignatures>), String> {
        let branches = secrets.branches.iter_mut().zip(&self.leaves);
        let signatures = branches
            .map(|(branch, leaf)| {
                let nonces = std::mem::take(&mut branch.nonces);
                let signatures = self
                    .tree
                    .cosign_branch(&self.agg_nonces, *leaf, &branch.key, nonces)
                    .map_err(|error| error.to_string())?;
                Ok(BranchSignatures {
                    pubkey: branch.key.public_key(),
                    signatures: signatures
                        .iter()
                        .map(|signature| signature.serialize().to_lower_hex_string())
                        .collect(),
                })
            })
            .collect::<Result<_, String>>()?;
        Ok((self.signed_tree, signatures))
    }
}
