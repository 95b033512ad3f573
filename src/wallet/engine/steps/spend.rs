//! What an out-of-round spend spends and makes. It is fixed before the server is asked (docs/protocol.md §4.2).

use std::sync::Arc;
use std::time::Duration;

use ark_lib::vtxo::VTXO_DUST;
use ark_lib::{VtxoId, VtxoPolicy};
use bitcoin::Amount;
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, VtxoRecord};
use crate::store::{WriteTx, vtxo};
use crate::wallet::account::fees::sum;
use crate::wallet::coins::select::split_change;
use crate::wallet::engine::clock;
use crate::wallet::engine::encoding::{Encoded, Sats};
use crate::wallet::{Error, Result};

/// A spend, with all that the first request depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct ArkoorSpend {
    /// The VTXOs that are spent; the operation holds them.
    pub(in crate::wallet) inputs: Vec<VtxoId>,
    /// The policy of the VTXOs that the spend is for.
    pub(in crate::wallet) policy: Encoded<VtxoPolicy>,
    /// Their total.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(in crate::wallet) amount: Amount,
    /// Index of the key that all change goes to.
    pub(in crate::wallet) change_key: u32,
    /// The pieces of change.
    pub(in crate::wallet) change: Vec<Sats>,
    /// Whether this operation itself uploaded the chains of all inputs.
    pub(in crate::wallet) uploaded: bool,
    /// How often the server refused to sign without proof that no earlier request had succeeded.
    pub(in crate::wallet) doubts: u32,
    /// When the last request of unclear outcome was noticed, unix milliseconds; `None` if each one was answered.
    #[serde(default)]
    pub(in crate::wallet) unclear_at: Option<i64>,
}

/// What a spend is for.
pub(in crate::wallet) struct Payee {
    /// The policy of the new VTXOs.
    pub(in crate::wallet) policy: VtxoPolicy,
    /// Their total.
    pub(in crate::wallet) amount: Amount,
}

/// Where the change of a spend goes.
pub(in crate::wallet) struct Change {
    /// Index of the key that gets it.
    pub(in crate::wallet) key: u32,
    /// How many pieces it is split into, if they are not too small.
    pub(in crate::wallet) pieces: u8,
}

/// How long a request of unclear outcome may still run at the server: its call is given up after half of that.
const REQUEST_LIFETIME: Duration = Duration::from_secs(60);

/// Refusals before inputs that are reported as spent count as spent by a copy of the wallet. A round of ours that spent them, and
/// that the wallet has not heard of, becomes known in between.
const DOUBTS_BEFORE_WRITE_OFF: u32 = 2;

impl ArkoorSpend {
    /// Locks the inputs of a spend for an operation, and fixes all that the first request depends on.
    ///
    /// # Errors
    /// `internal` if the inputs are worth less than the payee gets; the database's.
    pub(super) fn begin(
        tx: &mut WriteTx<'_>,
        id: &OperationId,
        inputs: &[Arc<VtxoRecord>],
        payee: Payee,
        change: Change,
    ) -> Result<ArkoorSpend> {
        for input in inputs {
            vtxo::lock(tx, input.id, id)?;
        }
        let rest = sum(inputs.iter().map(|input| input.amount))?
            .checked_sub(payee.amount)
            .ok_or_else(|| Error::internal(anyhow::anyhow!("selection is short")))?;
        let pieces = change.pieces.min(most_pieces(inputs.len(), payee.amount));
        let pieces = split_change(rest, payee.amount, pieces);
        Ok(ArkoorSpend {
            inputs: inputs.iter().map(|input| input.id).collect(),
            policy: Encoded(payee.policy),
            amount: payee.amount,
            change_key: change.key,
            change: pieces.into_iter().map(Sats).collect(),
            uploaded: false,
            doubts: 0,
            unclear_at: None,
        })
    }

    /// Whether an earlier request may still succeed.
    pub(super) fn may_still_run(&self) -> bool {
        self.unclear_at.is_some_and(|at| {
            let over = i64::try_from(REQUEST_LIFETIME.as_millis()).unwrap_or(i64::MAX);
            clock::now_millis().saturating_sub(at) < over
        })
    }

    /// Whether inputs that the server reports as spent were spent by somebody else.
    pub(super) fn is_spent_elsewhere(&self) -> bool {
        self.unclear_at.is_none() && self.doubts >= DOUBTS_BEFORE_WRITE_OFF
    }
}

/// The most pieces of change of a spend. A server makes four outputs of one input at most (docs/protocol.md §4.14): besides the pieces
/// that of the payee, and one more where a piece is cut off to bring dust to the size of an output. Dust is a small payment, or what
/// a payment takes of the last of several inputs.
fn most_pieces(inputs: usize, payment: Amount) -> u8 {
    if inputs == 1 && payment >= VTXO_DUST {
        3
    } else {
        2
    }
}
