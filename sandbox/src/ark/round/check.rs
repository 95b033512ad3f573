//! The checks of every participation in a round, interactive or delegated (docs/protocol.md §31.4).

use std::collections::BTreeSet;

use ark_lib::fees::VtxoFeeInfo;
use ark_lib::vtxo::VtxoPolicyKind;
use ark_lib::{VtxoId, VtxoRequest};
use bitcoin::Amount;
use bitcoin_ext::{BlockHeight, P2TR_DUST};
use server_rpc::{TryFromBytes, protos};

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::VtxoRecord;

/// Children of an inner node of the tree, and so leaves per nonce of a participant.
const TREE_RADIX: usize = 4;

/// Inputs, and the attestations of their owner.
pub struct Inputs<A> {
    /// In the order of the request.
    pub ids: Vec<VtxoId>,
    /// One for each.
    pub attestations: Vec<A>,
}

/// Reads the inputs of a request.
pub fn decode_inputs<A: TryFromBytes>(inputs: &[protos::InputVtxo]) -> Result<Inputs<A>, RpcError> {
    let ids = inputs
        .iter()
        .map(|input| VtxoId::from_bytes(&input.vtxo_id))
        .collect::<Result<Vec<_>, _>>()?;
    let attestations = inputs
        .iter()
        .map(|input| A::from_bytes(&input.attestation))
        .collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<&VtxoId> = ids.iter().collect();
    if ids.is_empty() {
        return Err(RpcError::bad("no inputs"));
    }
    if distinct.len() < ids.len() {
        return Err(RpcError::repeated_vtxo());
    }
    Ok(Inputs { ids, attestations })
}

impl Ark {
    /// Checks amounts and policies of the outputs. The fee depends on how long the inputs live after `height`.
    pub(super) fn check_outputs<'a>(
        &self,
        inputs: &[VtxoRecord],
        outputs: impl IntoIterator<Item = &'a VtxoRequest>,
        height: BlockHeight,
    ) -> Result<(), RpcError> {
        let paid_in: Amount = inputs.iter().map(|input| input.vtxo.amount()).sum();
        let mut left = paid_in;
        let mut count = 0;
        for output in outputs {
            if output.policy.policy_type() != VtxoPolicyKind::Pubkey {
                return Err(RpcError::bad("an output must have a pubkey policy"));
            }
            if output.amount < P2TR_DUST {
                return Err(RpcError::bad(format!("an output needs {P2TR_DUST}")));
            }
            if let Some(max) = self.params.max_vtxo_amount
                && output.amount > max
            {
                return Err(RpcError::bad(format!("an output may have at most {max}")));
            }
            left = left
                .checked_sub(output.amount)
                .ok_or_else(|| RpcError::bad("outputs exceed inputs"))?;
            count += 1;
        }
        if count == 0 {
            return Err(RpcError::bad("no outputs"));
        }
        if inputs
            .iter()
            .any(|input| input.vtxo.policy_type() != VtxoPolicyKind::Pubkey)
        {
            return Err(RpcError::bad("an input must have a pubkey policy"));
        }
        let fee = self
            .params
            .fees
            .refresh
            .calculate(
                inputs
                    .iter()
                    .map(|input| VtxoFeeInfo::from_vtxo_and_tip(&input.vtxo, height)),
            )
            .ok_or_else(|| RpcError::bad("fee overflow"))?;
        if left < fee {
            return Err(RpcError::bad(format!("fee is {left}, must be {fee}")));
        }
        Ok(())
    }

    /// Maximum number of leaves of a tree, given the number of nonces of a participant.
    pub(super) fn max_leaves(&self) -> usize {
        let depth = u32::try_from(self.params.nb_round_nonces).unwrap_or(u32::MAX);
        TREE_RADIX.saturating_pow(depth)
    }
}
