//! Which VTXOs may be spent off chain (docs/protocol.md §30.6, §32.10).

use std::collections::{BTreeMap, BTreeSet};

use ark_lib::VtxoId;
use bitcoin::{OutPoint, Txid};

use super::state::Ark;
use super::status::{RpcError, SPENT};
use super::store::{VtxoRecord, VtxoState};

/// The reason for which a VTXO that is on chain is refused.
const HAS_EXITED: &str = "has exited onchain";

/// Whether the same transaction has spent the input before.
fn is_replay(input: &VtxoRecord, spends: &BTreeMap<VtxoId, Txid>) -> bool {
    input.state == VtxoState::Spent
        && input.spent_by.is_some()
        && input.spent_by == spends.get(&input.vtxo.id()).copied()
}

impl Ark {
    /// Refuses inputs that must not be spent by the transactions in `spends`, with the ids of all of them. An input that the
    /// same transaction spends already passes, because the client may have lost the first answer.
    pub(super) async fn check_spendable(
        &self,
        inputs: &[VtxoRecord],
        spends: &BTreeMap<VtxoId, Txid>,
    ) -> Result<(), RpcError> {
        let mut reasons = BTreeSet::new();
        let mut refused = Vec::new();
        for input in inputs {
            let id = input.vtxo.id();
            let anchor = input.vtxo.chain_anchor();
            let reason = if is_replay(input, spends) {
                continue;
            } else if self.exit_height(id, anchor).await?.is_some() {
                HAS_EXITED
            } else if self.chain.tx(anchor.txid).await?.is_none() {
                // A reorganisation has removed the transaction that funded it.
                "no longer funded"
            } else {
                match input.state {
                    VtxoState::Spendable => continue,
                    VtxoState::Spent | VtxoState::LnSpent => SPENT,
                    VtxoState::Unregistered => "not registered",
                    VtxoState::Unclaimed | VtxoState::HtlcRecvUnclaimed => "not claimed",
                    VtxoState::Internal => "not a client's",
                }
            };
            reasons.insert(reason);
            refused.push(id);
        }
        if refused.is_empty() {
            return match inputs
                .iter()
                .map(|input| input.vtxo.id())
                .find(|id| self.is_busy(*id))
            {
                Some(id) => Err(RpcError::Locked(id)),
                None => Ok(()),
            };
        }
        let reasons: Vec<&str> = reasons.into_iter().collect();
        Err(RpcError::unusable(
            format!("vtxo not spendable ({})", reasons.join(", ")),
            refused,
        ))
    }

    /// Refuses inputs that are on chain, unless `spends` repeats an old spend. A real server names them only in rounds, so the calls
    /// for payments and offboards ask this first (docs/protocol.md §40).
    pub(super) async fn check_not_exited(
        &self,
        inputs: &[VtxoRecord],
        spends: &BTreeMap<VtxoId, Txid>,
    ) -> Result<(), RpcError> {
        for input in inputs.iter().filter(|input| !is_replay(input, spends)) {
            let (id, anchor) = (input.vtxo.id(), input.vtxo.chain_anchor());
            if self.exit_height(id, anchor).await?.is_some() {
                return Err(RpcError::bad(format!(
                    "bad user input: a vtxo {HAS_EXITED}"
                )));
            }
        }
        Ok(())
    }

    /// Refuses inputs that no new transaction may spend, or returns the error of `terms` if it is more important.
    pub(super) async fn check_new_spend(
        &self,
        inputs: &[VtxoRecord],
        terms: Result<(), RpcError>,
    ) -> Result<(), RpcError> {
        let mut spendable = self.check_spendable(inputs, &BTreeMap::new()).await;
        let mut ids = inputs.iter().map(|input| input.vtxo.id());
        if spendable.is_ok()
            && let Some(id) = ids.find(|id| self.in_flight.holds(*id))
        {
            spendable = Err(RpcError::Locked(id));
        }
        match (terms, spendable) {
            (Ok(()), spendable) => spendable,
            (terms, Ok(())) => terms,
            (Err(wrong), Err(unusable)) => Err(wrong.or(unusable)),
        }
    }

    /// Whether a round or an offboard in progress is about to spend this VTXO.
    fn is_busy(&self, id: VtxoId) -> bool {
        self.rounds.holds(id) || self.offboards.holds(id)
    }

    /// Height at which the VTXO's own output was confirmed on chain; `None` also for a server that does not look.
    pub(super) async fn exit_height(
        &self,
        id: VtxoId,
        anchor: OutPoint,
    ) -> anyhow::Result<Option<u32>> {
        // Nothing below an unspent anchor can be on chain.
        if !self.watchman().tracking || self.chain.spender(anchor).await?.is_none() {
            return Ok(None);
        }
        let exit = self.chain.tx(id.to_point().txid).await?;
        Ok(exit.and_then(|tx| tx.block).map(|block| block.height))
    }
}
