//! A round that happened for us without our having its record: an answer that was lost, or a database restored from an older
//! copy (docs/protocol.md §4.5.4, H33).

use std::collections::HashSet;

use ark_lib::tree::signed::UnlockHash;
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId, VtxoPolicy};
use bitcoin::Amount;

use super::pending::state;
use super::plan::{Mode, Output, Plan};
use super::{Round, start};
use crate::ark::{self, IssuedRound, ParticipationStatus};
use crate::model::VtxoState;
use crate::model::{OperationId, OperationKind};
use crate::store::operation as row;
use crate::store::{WriteTx, key};
use crate::store::{vtxo, vtxo_body};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::engine;
use crate::wallet::{Error, Result, Wallet};

/// The part of its inputs that a round may have cost; 1/20 is 5 %.
const MAX_FEE_PART: u64 = 20;

/// A round to take up, with all that the server told of it.
pub(in crate::wallet) struct Orphan {
    id: OperationId,
    unlock_hash: UnlockHash,
    inputs: Vec<VtxoId>,
    outputs: Vec<Vtxo<Full>>,
    fee: Amount,
    /// Inputs that were not here either.
    fetched: Vec<Vtxo<Full>>,
}

impl Wallet {
    /// Looks into a round that the mailbox reports; what the wallet knows of already goes on by itself.
    ///
    /// # Errors
    /// The server or the chain is away; the message has to be looked at again.
    pub(in crate::wallet) async fn look_for_orphan(
        &self,
        unlock_hash: UnlockHash,
    ) -> Result<Option<Orphan>> {
        let id = OperationId::from(format!("round.{unlock_hash}"));
        let taken_up = id.clone();
        let known = self
            .store
            .read(move |connection| {
                for row in row::unfinished(connection)? {
                    if row.kind == OperationKind::Round
                        && state(&row)?.unlock_hash() == Some(unlock_hash)
                    {
                        return Ok(true);
                    }
                }
                Ok::<_, Error>(row::get(connection, &taken_up)?.is_some())
            })
            .await?;
        if known {
            self.round_feed.look_again();
            return Ok(None);
        }
        let round = match self.server.participation_status(unlock_hash).await? {
            ParticipationStatus::Issued(round) => round,
            ParticipationStatus::Pending | ParticipationStatus::Unknown => {
                tracing::info!(%unlock_hash, "the mailbox reports a round that the server does not know");
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
        self.examine(id, unlock_hash, round).await
    }

    async fn examine(
        &self,
        id: OperationId,
        unlock_hash: UnlockHash,
        round: IssuedRound,
    ) -> Result<Option<Orphan>> {
        let refuse = |reason: &str| {
            tracing::warn!(%unlock_hash, reason, "a round that the mailbox reports is not taken up");
            Ok(None)
        };
        let info = self.connected_info()?;
        let distinct: HashSet<&VtxoId> = round.inputs.iter().collect();
        if round.inputs.is_empty() || distinct.len() < round.inputs.len() {
            return refuse("its inputs make no sense");
        }
        let plain = |vtxo: &Vtxo<Full>| {
            matches!(vtxo.policy(), VtxoPolicy::Pubkey(_))
                && vtxo.server_pubkey() == info.server_pubkey
        };
        if round.outputs.is_empty() || !round.outputs.iter().all(plain) {
            return refuse("its outputs are not plain VTXOs of our server");
        }
        let (mut here, mut fetched) = (Vec::new(), Vec::new());
        for input in &round.inputs {
            let wanted = *input;
            let stored = self
                .store
                .read(move |connection| {
                    let known = vtxo::get(connection, wanted)?.is_some();
                    known
                        .then(|| vtxo_body::get(connection, wanted))
                        .transpose()
                })
                .await?;
            if let Some(stored) = stored {
                here.push(stored);
                continue;
            }
            match self.server.fetch_vtxo(*input).await {
                Ok(body) if body.id() == *input => {
                    self.check_own_output(&body).await?;
                    fetched.push(body);
                }
                Ok(_) => return refuse("the server sends another VTXO than its input"),
                Err(ark::Error::Rejected { .. }) => return refuse("an input cannot be had"),
                Err(error) => return Err(error.into()),
            }
        }
        if !here.iter().chain(&fetched).all(plain) {
            return refuse("its inputs are not plain VTXOs of our server");
        }
        let paid_in = sum(here.iter().chain(&fetched));
        let paid_out = sum(&round.outputs);
        let fee = paid_in
            .zip(paid_out)
            .and_then(|(paid_in, paid_out)| paid_in.checked_sub(paid_out))
            .filter(|fee| paid_in.is_some_and(|paid_in| *fee <= paid_in / MAX_FEE_PART));
        let Some(fee) = fee else {
            return refuse("it takes more than it should");
        };
        Ok(Some(Orphan {
            id,
            unlock_hash,
            inputs: round.inputs,
            outputs: round.outputs,
            fee,
            fetched,
        }))
    }
}

fn sum<'v>(vtxos: impl IntoIterator<Item = &'v Vtxo<Full>>) -> Option<Amount> {
    let mut amounts = vtxos.into_iter().map(Vtxo::amount);
    amounts.try_fold(Amount::ZERO, Amount::checked_add)
}

impl Orphan {
    /// Writes it as an operation, to be taken up once that is durable; `None` when it is not ours.
    pub(in crate::wallet) fn adopt(
        self,
        tx: &mut WriteTx<'_>,
        keys: &WalletKeys,
        gap: u32,
    ) -> Result<Option<OperationId>> {
        let mut outputs = Vec::new();
        for output in &self.outputs {
            let Some(key) = keys::find(tx, keys, &output.user_pubkey(), gap)? else {
                tracing::warn!(unlock_hash = %self.unlock_hash, "a round that the mailbox reports pays somebody else");
                return Ok(None);
            };
            outputs.push(Output {
                key,
                amount: output.amount(),
            });
        }
        for input in &self.fetched {
            if keys::find(tx, keys, &input.user_pubkey(), gap)?.is_none() {
                tracing::warn!(unlock_hash = %self.unlock_hash, "a round that the mailbox reports spends somebody else's VTXO");
                return Ok(None);
            }
            vtxo::insert(tx, input, VtxoState::Locked(Some(self.id.clone())))?;
        }
        for input in &self.inputs {
            let owner = vtxo_body::get(tx, *input)?.user_pubkey();
            if key::index_of(tx, &owner)?.is_none() {
                return Ok(None);
            }
        }
        tracing::info!(unlock_hash = %self.unlock_hash, "taking up a round that the wallet had no record of");
        let plan = Plan {
            mode: Mode::Adopted,
            inputs: self.inputs,
            outputs,
            fee: self.fee,
            tried: None,
            failures: 0,
        };
        start::enter_movement(tx, &self.id, &plan)?;
        let round = Round::Delegated {
            plan,
            unlock_hash: self.unlock_hash,
        };
        engine::enlist(tx, &self.id, &round)?;
        Ok(Some(self.id))
    }
}
