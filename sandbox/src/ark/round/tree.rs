//! The unsigned tree of a round (docs/protocol.md §32.4, steps 4 and 6).

use std::collections::HashMap;

use ark_lib::musig::{self, AggregatedNonce, SecretNonce};
use ark_lib::rounds::VtxoProposal;
use ark_lib::tree::signed::{VtxoLeafSpec, VtxoTreeSpec};
use ark_lib::{SECP, VtxoPolicy, VtxoRequest};
use bitcoin::secp256k1::{Keypair, PublicKey, rand::thread_rng};
use bitcoin_ext::{BlockDelta, BlockHeight, P2TR_DUST};

use super::super::faults::TreeFault;
use super::super::state::Ark;
use super::attempt::{Attempt, unlock_hash};

/// A tree needs an inner node, and so at least two leaves.
const MIN_LEAVES: usize = 2;

/// The server's key and nonces for one tree.
pub struct ServerNonces {
    /// Used for this tree only.
    pub cosign_key: Keypair,
    /// One for each inner node, from the leaves to the root.
    pub secret: Vec<SecretNonce>,
    /// Together with those of the clients.
    pub aggregate: Vec<AggregatedNonce>,
}

impl Ark {
    /// The tree for all participants of the attempt, and the server's new cosign key for it.
    pub(super) fn tree_of(
        &self,
        attempt: &Attempt,
        tip: BlockHeight,
        fault: Option<TreeFault>,
    ) -> (VtxoTreeSpec, Keypair) {
        let mut leaves = leaves_of(attempt);
        alter_leaves(&mut leaves, fault);
        while leaves.len() < MIN_LEAVES {
            leaves.push(self.padding());
        }
        let cosign_key = Keypair::new(&*SECP, &mut thread_rng());
        let params = &self.params;
        let mut spec = VtxoTreeSpec::new(
            leaves,
            self.keys.server.public_key(),
            tip + params.vtxo_lifetime,
            params.vtxo_exit_delta,
            vec![cosign_key.public_key()],
        );
        match fault {
            Some(TreeFault::ShortExpiry) => {
                spec.expiry_height = tip + BlockDelta::new(params.vtxo_lifetime.to_u16() / 2);
            }
            Some(TreeFault::ExitDelta) => {
                spec.exit_delta = BlockDelta::new(params.vtxo_exit_delta.to_u16() + 1);
            }
            Some(TreeFault::ServerKey) => spec.server_pubkey = any_key(),
            _ => {}
        }
        (spec, cosign_key)
    }

    /// A leaf that the server pays to itself.
    fn padding(&self) -> VtxoLeafSpec {
        VtxoLeafSpec {
            vtxo: VtxoRequest {
                amount: P2TR_DUST,
                policy: VtxoPolicy::new_pubkey(self.keys.server.public_key()),
            },
            cosign_pubkey: None,
            unlock_hash: unlock_hash(&rand::random()),
        }
    }
}

/// Draws the server's nonces and adds those of the clients.
pub fn draw_nonces(
    attempt: &Attempt,
    spec: &VtxoTreeSpec,
    cosign_key: Keypair,
) -> anyhow::Result<ServerNonces> {
    let (secret, public): (Vec<_>, Vec<_>) = (0..spec.nb_internal_nodes())
        .map(|_| musig::nonce_pair(&cosign_key))
        .unzip();
    let clients: HashMap<PublicKey, _> = attempt
        .outputs()
        .map(|output| (output.cosign_pubkey, output.nonces.clone()))
        .collect();
    let aggregate = spec
        .calculate_cosign_agg_nonces(&clients, &[public])
        .map_err(anyhow::Error::msg)?;
    Ok(ServerNonces {
        cosign_key,
        secret,
        aggregate,
    })
}

fn leaves_of(attempt: &Attempt) -> Vec<VtxoLeafSpec> {
    let interactive = attempt
        .interactive
        .iter()
        .flat_map(|one| one.outputs.iter().map(|output| one.leaf(output)));
    let delegated = attempt.delegated.iter().flat_map(|one| {
        one.outputs.iter().map(|output| VtxoLeafSpec {
            vtxo: output.clone(),
            cosign_pubkey: None,
            unlock_hash: one.unlock_hash(),
        })
    });
    interactive.chain(delegated).collect()
}

fn alter_leaves(leaves: &mut Vec<VtxoLeafSpec>, fault: Option<TreeFault>) {
    let Some(first) = leaves.first_mut() else {
        return;
    };
    match fault {
        Some(TreeFault::WrongAmount) => first.vtxo.amount -= bitcoin::Amount::ONE_SAT,
        Some(TreeFault::WrongPolicy) => first.vtxo.policy = VtxoPolicy::new_pubkey(any_key()),
        Some(TreeFault::WrongUnlockHash) => first.unlock_hash = unlock_hash(&rand::random()),
        Some(TreeFault::DuplicateOutput) => {
            // The client signs one branch for its output, so the server signs the other one alone.
            let copy = VtxoLeafSpec {
                cosign_pubkey: None,
                ..first.clone()
            };
            leaves.push(copy);
        }
        Some(TreeFault::MissingOutput) => {
            leaves.remove(0);
        }
        _ => {}
    }
}

/// Applies a fault to the proposal sent to the clients; the tree itself is correct.
pub fn alter_proposal(proposal: &mut VtxoProposal, fault: Option<TreeFault>) {
    match fault {
        Some(TreeFault::Underfunded) => {
            proposal.unsigned_round_tx.output[0].value -= bitcoin::Amount::ONE_SAT;
        }
        Some(TreeFault::MissingNonce) => {
            proposal.cosign_agg_nonces.pop();
        }
        _ => {}
    }
}

fn any_key() -> PublicKey {
    Keypair::new(&*SECP, &mut thread_rng()).public_key()
}
