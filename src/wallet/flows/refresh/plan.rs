//! What a refresh asks the server for (docs/protocol.md §4.5).

use std::collections::HashSet;
use std::sync::Arc;

use ark_lib::{ArkInfo, VtxoId, VtxoPolicy, VtxoRequest};
use bitcoin::{Amount, SignedAmount};
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};

use super::attempt_id::AttemptId;
use super::quote::quote;
use crate::ark::IssuedRound;
use crate::config::FeeCeilings;
use crate::model::{OperationId, VtxoRecord, VtxoState};
use crate::store::{WriteTx, movement, vtxo};
use crate::wallet::account::ceiling::{ABOVE_CEILING, Charge};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::engine::clock;
use crate::wallet::engine::steps::end;
use crate::wallet::{Error, Result, Wallet};

/// Who started a refresh, and who signs the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::wallet) enum Mode {
    /// Requested over the API; the wallet signs the tree.
    Interactive,
    /// Started by the daemon because VTXOs are due; the wallet signs the tree.
    Automatic,
    /// Requested over the API; the server signs the tree.
    Delegated {
        /// The height before which no round carries it out; `None` for the next round.
        scheduled: Option<BlockHeight>,
    },
    /// Reported by the server; the wallet has no record of its start.
    Recovered,
}

impl Mode {
    /// The ceiling that the fee has to respect.
    pub(super) fn charge(self) -> Charge {
        match self {
            Mode::Automatic => Charge::AutoRefresh,
            Mode::Interactive | Mode::Delegated { .. } | Mode::Recovered => Charge::Refresh,
        }
    }
}

/// Everything that the first remote call of a refresh depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Plan {
    pub(super) mode: Mode,
    pub(super) inputs: Vec<VtxoId>,
    pub(super) outputs: Vec<Output>,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(super) fee: Amount,
    /// The latest attempt that failed.
    pub(super) last_try: Option<LastTry>,
    /// How many attempts failed.
    pub(super) failed_attempts: u32,
    /// What was delegated before some inputs were spent otherwise. The server may have carried that out all the same.
    #[serde(default)]
    pub(super) superseded: Vec<Plan>,
}

/// A new VTXO to ask for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Output {
    /// Index of the key that it pays to.
    pub(super) key: u32,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(super) amount: Amount,
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::wallet) struct LastTry {
    pub(super) attempt: AttemptId,
    pub(super) rejoin: Rejoin,
}

/// What may be joined after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::wallet) enum Rejoin {
    /// The next attempt of the same round.
    NextAttempt,
    /// Only another round.
    NextRound,
}

impl Plan {
    /// Whether an attempt may be joined: the first one of a round, or a later one of the round whose last attempt failed.
    pub(super) fn may_join(&self, attempt: AttemptId) -> bool {
        match self.last_try {
            Some(last) if last.attempt.round == attempt.round => {
                last.rejoin == Rejoin::NextAttempt && attempt.attempt > last.attempt.attempt
            }
            _ => attempt.attempt == 0,
        }
    }

    /// The new VTXOs, as requested from the server.
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

    /// The change of the balance: minus the fee.
    pub(super) fn balance_change(&self) -> Result<SignedAmount> {
        Ok(-end::signed(self.fee)?)
    }

    /// The height before which no round carries it out, if one was asked for.
    pub(super) fn scheduled(&self) -> Option<BlockHeight> {
        match self.mode {
            Mode::Delegated { scheduled } => scheduled,
            Mode::Interactive | Mode::Automatic | Mode::Recovered => None,
        }
    }

    /// What the server may have been asked for: this plan, and those that it supersedes.
    pub(super) fn submitted(mut self) -> Vec<Plan> {
        let mut all = std::mem::take(&mut self.superseded);
        all.push(self);
        all
    }

    /// Whether a round takes and gives exactly what this plan asks for: these inputs, and these outputs in this order. Its fee is
    /// then that of the plan.
    pub(super) fn is_carried_out_by(&self, round: &IssuedRound, keys: &WalletKeys) -> Result<bool> {
        let asked: HashSet<&VtxoId> = self.inputs.iter().collect();
        let taken: HashSet<&VtxoId> = round.inputs.iter().collect();
        if asked != taken || self.outputs.len() != round.outputs.len() {
            return Ok(false);
        }
        let requests = self.requests(keys)?;
        let mut pairs = requests.iter().zip(&round.outputs);
        Ok(pairs.all(|(request, output)| {
            request.amount == output.amount() && request.policy == *output.policy()
        }))
    }

    /// Those of these VTXOs that are inputs.
    pub(super) fn only_inputs(&self, mut vtxos: Vec<VtxoId>) -> Vec<VtxoId> {
        vtxos.retain(|vtxo| self.inputs.contains(vtxo));
        vtxos
    }

    /// The plan for a part of the inputs, with the same keys, for at most the fee that was quoted when the refresh was started.
    ///
    /// # Errors
    /// Why that part cannot be refreshed, after which the refresh has to end: `inputs_gone` if it is too small or none,
    /// `fee_above_quote` and `fee_above_ceiling` if the Ark server charges more than before (H47).
    pub(super) fn shrink(
        &self,
        info: &ArkInfo,
        ceilings: &FeeCeilings,
        left: &[Arc<VtxoRecord>],
        tip: BlockHeight,
    ) -> Result<Plan> {
        let height = self.scheduled().map_or(tip, |height| height.max(tip));
        let quote = quote(info, ceilings, self.mode.charge(), left, height).map_err(|error| {
            if error.code() == ABOVE_CEILING {
                error
            } else {
                inputs_gone()
            }
        })?;
        if quote.fee > self.fee {
            let message = format!(
                "some coins of this refresh were spent, and for the rest the Ark server charges {} sat, more than the {} sat that it quoted at the start; nothing was refreshed. Start it again to accept the fee",
                quote.fee.to_sat(),
                self.fee.to_sat()
            );
            return Err(Error::conflict("fee_above_quote", message));
        }
        if quote.pieces.len() > self.outputs.len() {
            return Err(inputs_gone());
        }
        let outputs = self.outputs.iter().zip(&quote.pieces);
        Ok(Plan {
            inputs: left.iter().map(|vtxo| vtxo.id).collect(),
            outputs: outputs
                .map(|(output, amount)| Output {
                    key: output.key,
                    amount: *amount,
                })
                .collect(),
            fee: quote.fee,
            superseded: self.clone().submitted(),
            ..self.clone()
        })
    }

    /// Reads those inputs that are spendable or locked by this refresh.
    pub(super) async fn load_available(
        &self,
        wallet: &Wallet,
        id: &OperationId,
    ) -> Result<Vec<Arc<VtxoRecord>>> {
        let locked_by_us = VtxoState::Locked(Some(id.clone()));
        let inputs = self.inputs.clone();
        wallet
            .store
            .read(move |connection| {
                let mut available = Vec::new();
                for input in inputs {
                    let record = vtxo::get(connection, input)?;
                    available.extend(record.filter(|record| {
                        record.state == VtxoState::Spendable || record.state == locked_by_us
                    }));
                }
                Ok(available)
            })
            .await
    }

    /// Updates inputs and fee of the movement after [`shrink`](Self::shrink).
    pub(super) fn revise_movement(&self, tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
        let movement = end::movement_of(tx, id)?;
        let (change, now) = (self.balance_change()?, clock::now_millis());
        Ok(movement::revise(
            tx,
            movement,
            &self.inputs,
            change,
            self.fee,
            now,
        )?)
    }
}

/// The reason for which a refresh ends whose inputs were spent before a round took them.
pub(super) fn inputs_gone() -> Error {
    Error::conflict(
        "inputs_gone",
        "the coins of this refresh were spent by another operation before a round took them",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(last_try: Option<LastTry>) -> Plan {
        Plan {
            mode: Mode::Interactive,
            inputs: Vec::new(),
            outputs: Vec::new(),
            fee: Amount::ZERO,
            last_try,
            failed_attempts: 0,
            superseded: Vec::new(),
        }
    }

    #[test]
    fn a_later_attempt_is_joined_only_after_an_earlier_one_of_its_round() {
        let id = |round, attempt| AttemptId { round, attempt };
        let fresh = plan(None);
        assert!(fresh.may_join(id(7, 0)) && !fresh.may_join(id(7, 1)));
        let after = |rejoin| {
            plan(Some(LastTry {
                attempt: id(7, 0),
                rejoin,
            }))
        };
        let again = after(Rejoin::NextAttempt);
        assert!(!again.may_join(id(7, 0)) && again.may_join(id(7, 1)));
        assert!(!after(Rejoin::NextRound).may_join(id(7, 1)));
        for tried in [again, after(Rejoin::NextRound)] {
            assert!(tried.may_join(id(8, 0)) && !tried.may_join(id(8, 1)));
        }
    }
}
