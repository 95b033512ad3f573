//! Rounds that the server reports and no refresh waits for: the answer to a delegation was lost, the database was restored from an
//! older copy, or the server lies (docs/protocol.md §4.5.4, H33, H46).
//!
//! The wallet completes by itself only what it has asked for: a round that takes and gives exactly what a delegated refresh of
//! its own asks for, whatever that costs (H55). Any other round waits for the operator, who can [recover](super::recover) it.

use std::collections::HashSet;

use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy, VtxoRequest};
use bitcoin::{Amount, SignedAmount};
use rusqlite::Connection;

use super::confirm::given_away;
use super::plan::{Mode, Output, Plan};
use super::resolve::{check_issue, not_signed};
use super::{Round, list, start};
use crate::ark::{self, IssuedRound, ParticipationStatus};
use crate::model::{Attention, OperationId, OperationRow, Outcome, VtxoState};
use crate::store::{WriteTx, key, vtxo, vtxo_body};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::engine;
use crate::wallet::engine::attention::{clear, raise};
use crate::wallet::recovery::history;
use crate::wallet::{Error, Result, Wallet};

/// The code of the fact that a round waits for the operator; its subject is the unlock hash.
const UNKNOWN_ROUND: &str = "unknown_round";

/// An issued round that no refresh waits for, as the server reports it. Its inputs and outputs are plain VTXOs of our server.
pub(in crate::wallet) struct ReportedRound {
    unlock_hash: UnlockHash,
    round: IssuedRound,
    /// What the inputs are worth.
    pub(super) taken: Amount,
    /// What the outputs are worth.
    given: Amount,
    pub(super) fee: Amount,
    /// The inputs that the wallet does not have, as fetched from the server.
    fetched: Vec<Vtxo<Full>>,
    /// Whether the new VTXOs are what such a round has to issue.
    checked: Result<(), String>,
}

impl Wallet {
    /// Examines a round that a mailbox message reports. If a refresh waits for it, that refresh is woken. `None` if there is
    /// nothing to do.
    ///
    /// # Errors
    /// `server_unavailable` or `chain_unavailable`; the message has to be processed again.
    pub(in crate::wallet) async fn examine_reported_round(
        &self,
        unlock_hash: UnlockHash,
    ) -> Result<Option<ReportedRound>> {
        let known = self
            .store
            .read(move |connection| {
                let mut refreshes = refreshes_of(connection, unlock_hash)?.into_iter();
                // One that failed before the round was issued does not count: the round can still be completed.
                Ok::<_, Error>(refreshes.any(|(row, round)| {
                    row.outcome != Some(Outcome::Failed) || round.exchange().is_some()
                }))
            })
            .await?;
        if known {
            self.round_events.wake();
            return Ok(None);
        }
        let round = match self.server.participation_status(unlock_hash).await {
            Ok(ParticipationStatus::Issued(round)) => round,
            Ok(ParticipationStatus::Unsigned) => return Err(not_signed()),
            Ok(ParticipationStatus::Pending | ParticipationStatus::Unknown) => {
                tracing::info!(%unlock_hash, "a mailbox message reports a round that the server has not issued");
                return Ok(None);
            }
            // It would keep the payments behind it in the mailbox for ever.
            Err(ark::Error::Malformed(reason)) => {
                tracing::warn!(%unlock_hash, reason, "reported round ignored");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        match self.examine_round(unlock_hash, round).await? {
            Ok(reported) => Ok(Some(reported)),
            Err(reason) => {
                tracing::warn!(%unlock_hash, reason, "reported round ignored");
                Ok(None)
            }
        }
    }

    /// Shows the operator a round that the server reports for a refresh, although it is not what the wallet takes part in.
    ///
    /// # Errors
    /// As [`examine_reported_round`](Self::examine_reported_round).
    pub(super) async fn report_round(
        &self,
        unlock_hash: UnlockHash,
        round: IssuedRound,
    ) -> Result<()> {
        match self.examine_round(unlock_hash, round).await? {
            Ok(reported) => {
                let (keys, gap) = (self.keys.clone(), self.settings.key_gap);
                self.store
                    .write(move |tx| reported.ask_operator(tx, &keys, gap))
                    .await
            }
            Err(reason) => {
                tracing::warn!(%unlock_hash, reason, "reported round ignored");
                Ok(())
            }
        }
    }

    /// Checks a round, and fetches those of its inputs that the wallet does not have. The inner error says why the wallet can
    /// have nothing to do with it.
    pub(super) async fn examine_round(
        &self,
        unlock_hash: UnlockHash,
        round: IssuedRound,
    ) -> Result<Result<ReportedRound, String>> {
        let server_pubkey = self.connected_info()?.server_pubkey;
        let distinct: HashSet<&VtxoId> = round.inputs.iter().collect();
        if round.inputs.is_empty() || distinct.len() < round.inputs.len() {
            return Ok(Err("it has no inputs, or the same one twice".into()));
        }
        let plain = |vtxo: &Vtxo<Full>| {
            matches!(vtxo.policy(), VtxoPolicy::Pubkey(_)) && vtxo.server_pubkey() == server_pubkey
        };
        if round.outputs.is_empty() || !round.outputs.iter().all(plain) {
            let reason = "it has no outputs, or some are not plain VTXOs of our server";
            return Ok(Err(reason.into()));
        }
        let (mut inputs, mut fetched) = (Vec::new(), Vec::new());
        for input in &round.inputs {
            if let Some(own) = self.stored_vtxo(*input).await? {
                inputs.push(own);
                continue;
            }
            match self.server.fetch_vtxo(*input).await {
                Ok(body) if body.id() == *input => {
                    match self.check_own_output(&body).await {
                        Ok(()) => {}
                        Err(error) if error.code() == "server_unavailable" => {
                            return Ok(Err(error.message().to_owned()));
                        }
                        Err(error) => return Err(error),
                    }
                    inputs.push(body.clone());
                    fetched.push(body);
                }
                Ok(_) => {
                    let reason = "the server sent another VTXO than the requested input";
                    return Ok(Err(reason.into()));
                }
                Err(ark::Error::Rejected { .. } | ark::Error::Malformed(_)) => {
                    return Ok(Err("the server does not send an input".into()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !inputs.iter().all(plain) {
            return Ok(Err("some inputs are not plain VTXOs of our server".into()));
        }
        let amounts = (sum(&inputs), sum(&round.outputs));
        let (Some(taken), Some(given)) = amounts else {
            return Ok(Err("its amounts overflow".into()));
        };
        let Some(fee) = taken.checked_sub(given) else {
            return Ok(Err("it gives more than it takes".into()));
        };
        let requests: Vec<_> = round
            .outputs
            .iter()
            .map(|output| VtxoRequest {
                amount: output.amount(),
                policy: output.policy().clone(),
            })
            .collect();
        let checked = check_issue(self, &inputs, &requests, None, &round, unlock_hash, None);
        let checked = checked.await?;
        Ok(Ok(ReportedRound {
            unlock_hash,
            round,
            taken,
            given,
            fee,
            fetched,
            checked,
        }))
    }

    async fn stored_vtxo(&self, id: VtxoId) -> Result<Option<Vtxo<Full>>> {
        self.store
            .read(move |connection| {
                let known = vtxo::get(connection, id)?.is_some();
                Ok(known.then(|| vtxo_body::get(connection, id)).transpose()?)
            })
            .await
    }
}

fn sum(vtxos: &[Vtxo<Full>]) -> Option<Amount> {
    vtxos
        .iter()
        .try_fold(Amount::ZERO, |sum, vtxo| sum.checked_add(vtxo.amount()))
}

/// The refresh that waits for the round with this unlock hash, or has completed it.
pub(super) fn refresh_of(
    connection: &Connection,
    unlock_hash: UnlockHash,
) -> Result<Option<OperationId>> {
    let mut refreshes = refreshes_of(connection, unlock_hash)?.into_iter();
    let found = refreshes.find(|(row, _)| row.outcome != Some(Outcome::Failed));
    Ok(found.map(|(row, _)| row.id))
}

fn refreshes_of(
    connection: &Connection,
    unlock_hash: UnlockHash,
) -> Result<Vec<(OperationRow, Round)>> {
    let mut refreshes = list::search(connection, unlock_hash)?;
    refreshes.retain(|(_, round)| round.unlock_hash() == Some(unlock_hash));
    Ok(refreshes)
}

impl ReportedRound {
    /// Decides about the round in the transaction of its mailbox message: the refresh that asked for it gets it, otherwise the
    /// operator is asked. Returns the refresh, which the caller takes up once the transaction is durable.
    pub(in crate::wallet) fn settle(
        self,
        tx: &mut WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<Option<OperationId>> {
        let unlock_hash = self.unlock_hash;
        let Some((row, plan)) = self.find_request(tx, keys)? else {
            self.ask_operator(tx, keys, gap)?;
            return Ok(None);
        };
        tracing::info!(%unlock_hash, operation = %row.id, "the round of a delegated refresh is reported");
        if row.outcome.is_none() {
            plan.revise_movement(tx, &row.id)?;
            let state = Round::Delegated { plan, unlock_hash };
            engine::replace(tx, &row.id, &state)?;
            return Ok(Some(row.id));
        }
        let id = OperationId::random();
        let plan = Plan {
            mode: Mode::Recovered,
            ..plan
        };
        start::insert_movement(tx, &id, &plan)?;
        engine::enlist(tx, &id, &Round::Delegated { plan, unlock_hash })?;
        Ok(Some(id))
    }

    /// The delegated refresh that has asked for this round and does not know its unlock hash, and what it asked for. It may have
    /// failed meanwhile, because the server refused to take the same inputs again.
    fn find_request(
        &self,
        connection: &Connection,
        keys: &WalletKeys,
    ) -> Result<Option<(OperationRow, Plan)>> {
        for (row, round) in list::search(connection, self.unlock_hash)? {
            let plan = match round {
                Round::Delegate(plan) => plan,
                Round::Delegated { plan, .. } if row.outcome.is_some() => plan,
                _ => continue,
            };
            for asked in plan.submitted() {
                if asked.is_carried_out_by(&self.round, keys)? {
                    return Ok(Some((row, asked)));
                }
            }
        }
        Ok(None)
    }

    /// Asks the operator what to do about the round, if all its inputs and outputs belong to our keys.
    pub(in crate::wallet) fn ask_operator(
        &self,
        tx: &WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<()> {
        let unlock_hash = self.unlock_hash;
        let checked = match &self.checked {
            Ok(()) => self.own_outputs(tx, keys, gap)?.map(drop),
            Err(reason) => Err(reason.clone()),
        };
        if let Err(reason) = checked {
            tracing::warn!(%unlock_hash, reason, "reported round ignored");
            return Ok(());
        }
        let (taken, given, fee) = (self.taken.to_sat(), self.given.to_sat(), self.fee.to_sat());
        let fact = Attention {
            code: UNKNOWN_ROUND.into(),
            subject: unlock_hash.to_string(),
            message: format!(
                "The Ark server reports a round that this wallet has no record of: it takes VTXOs worth {taken} sat, gives {given} sat, and keeps {fee} sat. Nothing is forfeited for it."
            ),
            what_to_do: format!(
                "If you asked for this refresh and then restored an older copy of the database, or asked for it with another copy of this wallet, complete it with POST /wallet/rounds/{unlock_hash}/recover and max_fee_sat {fee}. If nobody asked for it, do not: the server alone has signed it."
            ),
        };
        raise(tx, &fact)
    }

    /// The first state of the refresh that completes the round because a person says so. Stores the inputs that the wallet did not
    /// have, and the movement.
    ///
    /// # Errors
    /// `round_not_recoverable`.
    pub(super) fn begin(
        &self,
        tx: &mut WriteTx<'_>,
        id: &OperationId,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<Round> {
        let unlock_hash = self.unlock_hash;
        let refused = |reason: String| not_recoverable(unlock_hash, &reason);
        self.checked.clone().map_err(refused)?;
        let outputs = self.own_outputs(tx, keys, gap)?.map_err(refused)?;
        if let Some(input) = given_away(tx, id, &self.round.inputs)? {
            return Err(refused(format!("the wallet itself has spent VTXO {input}")));
        }
        let (mut taken, mut found) = (SignedAmount::ZERO, Vec::new());
        for input in &self.fetched {
            if vtxo::insert(tx, input, VtxoState::Locked(Some(id.clone())))? {
                taken += input.amount().to_signed().map_err(Error::internal)?;
                found.push(input.id());
            }
        }
        history::record(tx, taken, &[], &found)?;
        let plan = Plan {
            mode: Mode::Recovered,
            inputs: self.round.inputs.clone(),
            outputs,
            fee: self.fee,
            last_try: None,
            failed_attempts: 0,
            superseded: Vec::new(),
        };
        start::insert_movement(tx, id, &plan)?;
        clear(tx, UNKNOWN_ROUND, &unlock_hash.to_string())?;
        Ok(Round::Delegated { plan, unlock_hash })
    }

    /// The outputs with the indices of their keys. The inner error says which part of the round belongs to another wallet.
    fn own_outputs(
        &self,
        tx: &WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<Result<Vec<Output>, String>> {
        for input in &self.fetched {
            if keys::find(tx, keys, &input.user_pubkey(), gap)?.is_none() {
                return Ok(Err(format!(
                    "input {} belongs to another wallet",
                    input.id()
                )));
            }
        }
        for input in &self.round.inputs {
            if let Some(stored) = vtxo::get(tx, *input)?
                && key::index_of(tx, &stored.user_pubkey)?.is_none()
            {
                return Ok(Err(format!("input {input} belongs to another wallet")));
            }
        }
        let mut own = Vec::new();
        for output in &self.round.outputs {
            let Some(key) = keys::find(tx, keys, &output.user_pubkey(), gap)? else {
                return Ok(Err(format!(
                    "output {} belongs to another wallet",
                    output.id()
                )));
            };
            let amount = output.amount();
            own.push(Output { key, amount });
        }
        Ok(Ok(own))
    }
}

pub(super) fn not_recoverable(unlock_hash: UnlockHash, reason: &str) -> Error {
    let message =
        format!("the round {unlock_hash} cannot be completed, nothing was done: {reason}");
    Error::conflict("round_not_recoverable", message)
}
