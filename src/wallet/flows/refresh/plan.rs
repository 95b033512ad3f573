//! What a refresh swaps for what, and what that costs (docs/protocol.md §4.5, §5).

use std::sync::Arc;

use ark_lib::fees::validate_and_subtract_fee_min_dust;
use ark_lib::vtxo::VTXO_DUST;
use ark_lib::{ArkInfo, VtxoId, VtxoPolicy, VtxoRequest};
use bitcoin::{Amount, SignedAmount};
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::AttemptId;
use crate::model::OperationId;
use crate::model::{VtxoRecord, VtxoState};
use crate::store::vtxo;
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::{Error, Result};

/// How a participation comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::wallet) enum Mode {
    /// Somebody asked for it; we sign the tree.
    Interactive,
    /// The wallet keeps its coins fresh; we sign the tree.
    Maintenance,
    /// Somebody asked for it; the server signs the tree, not before this height.
    Delegated {
        /// `None` is the next round.
        scheduled: Option<u32>,
    },
    /// The server reported it; the wallet had lost or never had the record.
    Adopted,
}

/// All that the first remote call of a round depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Plan {
    pub(super) mode: Mode,
    pub(super) inputs: Vec<VtxoId>,
    pub(super) outputs: Vec<Output>,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(super) fee: Amount,
    /// The latest attempt that is not to be joined any more.
    pub(super) tried: Option<AttemptId>,
    /// Attempts that came to nothing.
    pub(super) failures: u32,
}

/// A new VTXO.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Output {
    /// Index of the key that it pays to.
    pub(super) key: u32,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(super) amount: Amount,
}

impl Plan {
    /// The new VTXOs as the server is asked for them.
    pub(super) fn requests(&self, keys: &WalletKeys) -> Result<Vec<VtxoRequest>> {
        self.outputs
            .iter()
            .map(|output| {
                Ok(VtxoRequest {
                    amount: output.amount,
                    policy: VtxoPolicy::new_pubkey(keys.vtxo_key(output.key)?.public_key()),
                })
            })
            .collect()
    }

    /// What it does to the balance.
    pub(super) fn balance_change(&self) -> Result<SignedAmount> {
        Ok(-self.fee.to_signed().map_err(Error::internal)?)
    }

    /// The height that it is planned for, if that is not the present.
    pub(super) fn scheduled(&self) -> Option<BlockHeight> {
        match self.mode {
            Mode::Delegated { scheduled } => scheduled.map(BlockHeight::new),
            Mode::Interactive | Mode::Maintenance | Mode::Adopted => None,
        }
    }

    /// The same for fewer inputs, with the same keys; `None` when what is left is not worth it.
    pub(super) fn shrink(
        &self,
        info: &ArkInfo,
        left: &[Arc<VtxoRecord>],
        tip: BlockHeight,
    ) -> Option<Plan> {
        let height = self.scheduled().map_or(tip, |height| height.max(tip));
        let quote = quote(info, left, height).ok()?;
        if quote.pieces.len() > self.outputs.len() {
            return None;
        }
        let outputs = self.outputs.iter().zip(&quote.pieces);
        Some(Plan {
            inputs: left.iter().map(|vtxo| vtxo.id).collect(),
            outputs: outputs
                .map(|(output, amount)| Output {
                    key: output.key,
                    amount: *amount,
                })
                .collect(),
            fee: quote.fee,
            ..self.clone()
        })
    }

    /// Those inputs that the operation can still have.
    pub(super) fn available(
        &self,
        connection: &Connection,
        id: &OperationId,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        let ours = VtxoState::Locked(Some(id.clone()));
        let mut found = Vec::new();
        for input in &self.inputs {
            let record = vtxo::get(connection, *input)?;
            found.extend(
                record
                    .filter(|record| record.state == VtxoState::Spendable || record.state == ours),
            );
        }
        Ok(found)
    }
}

/// What a refresh costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) fee: Amount,
    /// The new VTXOs: one, unless the server makes none that large.
    pub(super) pieces: Vec<Amount>,
}

/// What a refresh of these VTXOs at this height costs and brings.
///
/// # Errors
/// `no_vtxos` for none, `amount_too_small` when less than a VTXO is left.
pub(super) fn quote(
    info: &ArkInfo,
    inputs: &[Arc<VtxoRecord>],
    height: BlockHeight,
) -> Result<Quote> {
    if inputs.is_empty() {
        return Err(Error::bad_request(
            "no_vtxos",
            "there is nothing to refresh",
        ));
    }
    let too_much = || Error::bad_request("amount_too_large", "the refresh overflows; refresh less");
    let gross = inputs
        .iter()
        .try_fold(Amount::ZERO, |sum, vtxo| sum.checked_add(vtxo.amount))
        .ok_or_else(too_much)?;
    let infos = inputs.iter().map(|vtxo| vtxo.fee_info(height));
    let fee = info.fees.refresh.calculate(infos).ok_or_else(too_much)?;
    let net = validate_and_subtract_fee_min_dust(gross, fee, VTXO_DUST).map_err(|_| {
        let message = format!(
            "a refresh of {} sat costs {} sat, which leaves less than the {} sat that a VTXO holds; refresh more at once",
            gross.to_sat(),
            fee.to_sat(),
            VTXO_DUST.to_sat()
        );
        Error::bad_request("amount_too_small", message)
    })?;
    Ok(Quote {
        fee,
        pieces: pieces(net, info.max_vtxo_amount),
    })
}

/// Equal parts that each fit into a VTXO.
fn pieces(net: Amount, most: Option<Amount>) -> Vec<Amount> {
    let most = most.unwrap_or(net).max(VTXO_DUST).to_sat();
    let count = net.to_sat().div_ceil(most).max(1);
    let (piece, mut rest) = (net.to_sat() / count, net.to_sat() % count);
    let mut parts = Vec::new();
    for _ in 0..count {
        let one = u64::from(rest > 0);
        rest -= one;
        parts.push(Amount::from_sat(piece + one));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_sum_up_and_fit(net in 330..1_000_000_000u64, parts in 1..50u64) {
            let most = (net / parts).max(1_000);
            let parts = pieces(Amount::from_sat(net), Some(Amount::from_sat(most)));
            prop_assert_eq!(parts.iter().map(|part| part.to_sat()).sum::<u64>(), net);
            prop_assert!(parts.iter().all(|part| part.to_sat() <= most && *part >= VTXO_DUST));
        }
    }

    #[test]
    fn one_piece_is_enough_without_a_limit() {
        assert_eq!(
            pieces(Amount::from_sat(5_000), None),
            [Amount::from_sat(5_000)]
        );
    }
}
