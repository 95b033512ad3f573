//! Rounds that are not done yet, for those who ask.

use ark_lib::VtxoId;
use ark_lib::tree::signed::UnlockHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Transaction};
use bitcoin_ext::BlockHeight;
use chrono::{DateTime, Utc};
use rusqlite::Connection;

use super::Round;
use super::plan::Mode;
use crate::model::MovementId;
use crate::model::{OperationId, OperationKind, OperationRow, Outcome};
use crate::store;
use crate::store::movement;
use crate::store::operation;
use crate::store::vtxo;
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::{Error, Result, Wallet};

/// A participation in a round, as far as it has come.
#[derive(Clone, Debug)]
pub struct PendingRound {
    /// Its entry in the history; also its name in the API.
    pub movement: MovementId,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// How far it is.
    pub phase: RoundPhase,
    /// Why the last try of its present step came to nothing, or why it failed.
    pub problem: Option<String>,
    /// The VTXOs that it gives up.
    pub inputs: Vec<VtxoId>,
    /// The VTXOs that it asks for.
    pub outputs: Vec<RoundOutput>,
    /// The name that the server gave it.
    pub unlock_hash: Option<UnlockHash>,
    /// No round before this height carries it out.
    pub scheduled_height: Option<BlockHeight>,
    /// The transaction of its round, once that has happened.
    pub funding_tx: Option<Transaction>,
}

/// A VTXO that a round is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundOutput {
    /// Its value.
    pub amount: Amount,
    /// The key of ours that it pays to.
    pub user_pubkey: PublicKey,
}

/// How far a participation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundPhase {
    /// The server has it, or is about to, and carries it out by itself.
    Delegated,
    /// It waits for a round to begin.
    Waiting,
    /// A round with it is under way.
    Ongoing,
    /// The round has happened; its transaction has to confirm.
    Unconfirmed,
    /// The transaction is deep enough; old VTXOs are being swapped for new ones, or have been.
    Confirmed,
    /// It did not happen.
    Failed,
}

impl Wallet {
    /// The participations under way, oldest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn pending_rounds(&self) -> Result<Vec<PendingRound>> {
        let keys = self.keys.clone();
        self.store
            .read(move |connection| {
                let rounds = operation::unfinished(connection)?
                    .into_iter()
                    .filter(|row| row.kind == OperationKind::Round);
                rounds.map(|row| view(connection, &keys, &row)).collect()
            })
            .await
    }

    /// The participation with this operation id, whatever became of it.
    pub(super) async fn pending_round(&self, id: &OperationId) -> Result<PendingRound> {
        let (keys, id) = (self.keys.clone(), id.clone());
        self.store
            .read(move |connection| {
                let row = operation::get(connection, &id)?;
                let missing = || Error::internal(anyhow::anyhow!("round {id} has no row"));
                view(connection, &keys, &row.ok_or_else(missing)?)
            })
            .await
    }
}

/// The state in a row of the kind round.
pub(super) fn state(row: &OperationRow) -> Result<Round> {
    Ok(serde_json::from_str(&row.state).map_err(|error| store::Error::corrupt("round", error))?)
}

fn view(connection: &Connection, keys: &WalletKeys, row: &OperationRow) -> Result<PendingRound> {
    let round = state(row)?;
    let entry = match movement::id_of_operation(connection, &row.id)? {
        Some(id) => movement::get(connection, id)?,
        None => None,
    };
    let entry = entry
        .ok_or_else(|| Error::internal(anyhow::anyhow!("operation {} has no movement", row.id)))?;
    let planned = round.plan().map(|plan| plan.requests(keys)).transpose()?;
    let planned = planned.unwrap_or_default();
    let mut outputs: Vec<RoundOutput> = planned
        .iter()
        .map(|request| RoundOutput {
            amount: request.amount,
            user_pubkey: request.policy.user_pubkey(),
        })
        .collect();
    let (mut funding_tx, mut scheduled_height) = (None, None);
    match &round {
        Round::Issued(swap) | Round::Confirm(swap) | Round::Forfeit(swap) => {
            funding_tx = Some(swap.funding_tx.clone());
            scheduled_height = swap.scheduled.map(BlockHeight::new);
            outputs.extend(swap.outputs.iter().map(|output| RoundOutput {
                amount: output.0.amount(),
                user_pubkey: output.0.user_pubkey(),
            }));
        }
        Round::Register(released) => {
            funding_tx = Some(released.funding_tx.clone());
            for id in &released.outputs {
                outputs.extend(vtxo::get(connection, *id)?.map(|output| RoundOutput {
                    amount: output.amount,
                    user_pubkey: output.user_pubkey,
                }));
            }
        }
        planned => scheduled_height = planned.plan().and_then(super::Plan::scheduled),
    }
    Ok(PendingRound {
        movement: entry.id,
        created_at: entry.created_at,
        phase: phase(&round, row.outcome),
        problem: row.last_error.clone(),
        inputs: round.inputs().to_vec(),
        outputs,
        unlock_hash: round.unlock_hash(),
        scheduled_height,
        funding_tx,
    })
}

fn phase(round: &Round, outcome: Option<Outcome>) -> RoundPhase {
    if outcome == Some(Outcome::Failed) {
        return RoundPhase::Failed;
    }
    match round {
        Round::Prepare(plan) => match plan.mode {
            Mode::Interactive | Mode::Maintenance => RoundPhase::Waiting,
            Mode::Delegated { .. } | Mode::Adopted => RoundPhase::Delegated,
        },
        Round::Wait(_) => RoundPhase::Waiting,
        Round::Join { .. } | Round::Joined(_) | Round::Sign { .. } | Round::Signed { .. } => {
            RoundPhase::Ongoing
        }
        Round::Delegate(_) | Round::Delegated { .. } => RoundPhase::Delegated,
        Round::Issued(_) | Round::Confirm(_) => RoundPhase::Unconfirmed,
        Round::Forfeit(_) | Round::Register(_) => RoundPhase::Confirmed,
    }
}
