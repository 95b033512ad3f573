//! Recovers a round that the wallet has no record of: the answer to its delegation was lost, or the database was restored from
//! an older copy (docs/protocol.md §4.5.4, H33).

use std::collections::HashSet;

use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};
use bitcoin::Amount;

use super::plan::{Mode, Output, Plan};
use super::{Round, list, start};
use crate::ark::{self, IssuedRound, ParticipationStatus};
use crate::model::{OperationId, VtxoState};
use crate::store::{WriteTx, key, operation, vtxo, vtxo_body};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::engine;
use crate::wallet::{Error, Result, Wallet};

/// The fee may be at most the inputs' sum divided by this: 5 %.
const MAX_FEE_DIVISOR: u64 = 20;

/// An issued round that the wallet has no record of, as the server reports it.
pub(in crate::wallet) struct UnknownRound {
    id: OperationId,
    unlock_hash: UnlockHash,
    inputs: Vec<VtxoId>,
    outputs: Vec<Vtxo<Full>>,
    fee: Amount,
    /// The inputs that the wallet does not have, as fetched from the server.
    fetched: Vec<Vtxo<Full>>,
}

impl Wallet {
    /// Examines a round that a mailbox message reports. If a refresh waits for it, that refresh is woken. `None` if there is
    /// nothing to recover.
    ///
    /// # Errors
    /// `server_unavailable` or `chain_unavailable`; the message has to be processed again.
    pub(in crate::wallet) async fn examine_reported_round(
        &self,
        unlock_hash: UnlockHash,
    ) -> Result<Option<UnknownRound>> {
        let id = OperationId::from(format!("round.{unlock_hash}"));
        let recovered = id.clone();
        let known = self
            .store
            .read(move |connection| {
                let unfinished = list::unfinished(connection)?;
                let waiting = unfinished
                    .iter()
                    .any(|(_, round)| round.unlock_hash() == Some(unlock_hash));
                Ok::<_, Error>(waiting || operation::get(connection, &recovered)?.is_some())
            })
            .await?;
        if known {
            self.round_events.wake();
            return Ok(None);
        }
        let round = match self.server.participation_status(unlock_hash).await? {
            ParticipationStatus::Issued(round) => round,
            ParticipationStatus::Pending | ParticipationStatus::Unknown => {
                tracing::info!(%unlock_hash, "a mailbox message reports a round that the server has not issued");
                return Ok(None);
            }
        };
        let outputs: Vec<VtxoId> = round.outputs.iter().map(Vtxo::id).collect();
        let stored = self
            .store
            .read(move |connection| {
                let rows = outputs.iter().map(|id| vtxo::get(connection, *id));
                rows.collect::<Result<Vec<_>, _>>()
            })
            .await?;
        if stored.iter().any(Option::is_some) {
            return Ok(None);
        }
        match self.fetch_unknown_round(id, unlock_hash, round).await? {
            Ok(unknown) => Ok(Some(unknown)),
            Err(reason) => {
                tracing::warn!(%unlock_hash, reason, "reported round not recovered");
                Ok(None)
            }
        }
    }

    /// Checks an unknown round, and fetches those of its inputs that the wallet does not have. The inner error says why the
    /// round cannot be recovered.
    async fn fetch_unknown_round(
        &self,
        id: OperationId,
        unlock_hash: UnlockHash,
        round: IssuedRound,
    ) -> Result<Result<UnknownRound, &'static str>> {
        let server_pubkey = self.connected_info()?.server_pubkey;
        let distinct: HashSet<&VtxoId> = round.inputs.iter().collect();
        if round.inputs.is_empty() || distinct.len() < round.inputs.len() {
            return Ok(Err("it has no inputs, or the same one twice"));
        }
        let plain = |vtxo: &Vtxo<Full>| {
            matches!(vtxo.policy(), VtxoPolicy::Pubkey(_)) && vtxo.server_pubkey() == server_pubkey
        };
        if round.outputs.is_empty() || !round.outputs.iter().all(plain) {
            return Ok(Err(
                "it has no outputs, or some are not plain VTXOs of our server",
            ));
        }
        let (mut stored, mut fetched) = (Vec::new(), Vec::new());
        for input in &round.inputs {
            if let Some(own) = self.stored_vtxo(*input).await? {
                stored.push(own);
                continue;
            }
            match self.server.fetch_vtxo(*input).await {
                Ok(body) if body.id() == *input => {
                    self.check_own_output(&body).await?;
                    fetched.push(body);
                }
                Ok(_) => return Ok(Err("the server sent another VTXO than the requested input")),
                Err(ark::Error::Rejected { .. }) => {
                    return Ok(Err("the server refuses to send an input"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !stored.iter().chain(&fetched).all(plain) {
            return Ok(Err("some inputs are not plain VTXOs of our server"));
        }
        let Some(fee) = fee(stored.iter().chain(&fetched), &round.outputs) else {
            return Ok(Err("its fee is negative, or more than 5 % of its inputs"));
        };
        Ok(Ok(UnknownRound {
            id,
            unlock_hash,
            inputs: round.inputs,
            outputs: round.outputs,
            fee,
            fetched,
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

/// What the round costs; `None` if it exceeds the maximum, or the amounts do not add up.
fn fee<'v>(
    inputs: impl Iterator<Item = &'v Vtxo<Full>>,
    outputs: &'v [Vtxo<Full>],
) -> Option<Amount> {
    let (paid_in, paid_out) = (sum(inputs)?, sum(outputs.iter())?);
    let fee = paid_in.checked_sub(paid_out)?;
    (fee <= paid_in / MAX_FEE_DIVISOR).then_some(fee)
}

fn sum<'v>(mut vtxos: impl Iterator<Item = &'v Vtxo<Full>>) -> Option<Amount> {
    vtxos.try_fold(Amount::ZERO, |sum, vtxo| sum.checked_add(vtxo.amount()))
}

impl UnknownRound {
    /// Stores it as an operation, which the caller drives once the transaction is durable. `None` if not all its inputs and
    /// outputs belong to our keys.
    pub(in crate::wallet) fn recover(
        self,
        tx: &mut WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<Option<OperationId>> {
        let unlock_hash = self.unlock_hash;
        let Some(outputs) = self.own_outputs(tx, keys, gap)? else {
            tracing::warn!(%unlock_hash, "reported round not recovered: an output belongs to another wallet");
            return Ok(None);
        };
        if !self.owns_inputs(tx, keys, gap)? {
            tracing::warn!(%unlock_hash, "reported round not recovered: an input belongs to another wallet");
            return Ok(None);
        }
        tracing::info!(%unlock_hash, "recovering a round that the wallet has no record of");
        for input in &self.fetched {
            vtxo::insert(tx, input, VtxoState::Locked(Some(self.id.clone())))?;
        }
        let plan = Plan {
            mode: Mode::Recovered,
            inputs: self.inputs,
            outputs,
            fee: self.fee,
            last_try: None,
            failed_attempts: 0,
        };
        start::insert_movement(tx, &self.id, &plan)?;
        engine::enlist(tx, &self.id, &Round::Delegated { plan, unlock_hash })?;
        Ok(Some(self.id))
    }

    fn own_outputs(
        &self,
        tx: &WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<Option<Vec<Output>>> {
        let mut own = Vec::new();
        for output in &self.outputs {
            let Some(key) = keys::find(tx, keys, &output.user_pubkey(), gap)? else {
                return Ok(None);
            };
            let amount = output.amount();
            own.push(Output { key, amount });
        }
        Ok(Some(own))
    }

    fn owns_inputs(&self, tx: &WriteTx<'_>, keys: &WalletKeys, gap: u32) -> Result<bool> {
        for input in &self.fetched {
            if keys::find(tx, keys, &input.user_pubkey(), gap)?.is_none() {
                return Ok(false);
            }
        }
        for input in &self.inputs {
            if let Some(stored) = vtxo::get(tx, *input)?
                && key::index_of(tx, &stored.user_pubkey)?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
