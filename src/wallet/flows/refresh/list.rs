//! Refreshes under way, as the API lists them (docs/protocol.md §4.5).

use ark_lib::VtxoId;
use ark_lib::tree::signed::UnlockHash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Transaction};
use bitcoin_ext::BlockHeight;
use chrono::{DateTime, Utc};
use rusqlite::Connection;

use super::Round;
use super::plan::Mode;
use crate::model::{MovementId, OperationId, OperationKind, OperationRow, Outcome};
use crate::store::{movement, operation};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::engine::state_of;
use crate::wallet::engine::steps::end;
use crate::wallet::{Error, Result, Wallet};

/// A refresh, from its request to its end.
#[derive(Clone, Debug)]
pub struct PendingRound {
    /// Its movement, whose id identifies it in the API.
    pub movement: MovementId,
    /// When it was requested.
    pub created_at: DateTime<Utc>,
    /// Its phase.
    pub phase: RoundPhase,
    /// Why the last try of its current step failed, or why the refresh failed.
    pub problem: Option<String>,
    /// The VTXOs that it replaces.
    pub inputs: Vec<VtxoId>,
    /// The new VTXOs.
    pub outputs: Vec<RoundOutput>,
    /// Identifies the participation at the server; `None` before the server accepted it.
    pub unlock_hash: Option<UnlockHash>,
    /// The height before which no round carries it out, if one was asked for.
    pub scheduled_height: Option<BlockHeight>,
    /// The transaction of its round, once issued.
    pub funding_tx: Option<Transaction>,
}

/// A new VTXO of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundOutput {
    /// Its value.
    pub amount: Amount,
    /// Our key that it pays to.
    pub user_pubkey: PublicKey,
}

/// The phase of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundPhase {
    /// The participation is delegated, or about to be; the server carries it out without the wallet.
    Delegated,
    /// It waits for a round to start.
    Waiting,
    /// It takes part in a round that is under way.
    Ongoing,
    /// The round was issued; its transaction lacks confirmations.
    Unconfirmed,
    /// The transaction is confirmed; the inputs are being forfeited for the new VTXOs, or were.
    Confirmed,
    /// It failed; nothing was given up.
    Failed,
}

impl Wallet {
    /// The refreshes under way, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pending_rounds(&self) -> Result<Vec<PendingRound>> {
        let keys = self.keys.clone();
        self.store
            .read(move |connection| {
                unfinished(connection)?
                    .iter()
                    .map(|(row, round)| view(connection, &keys, row, round))
                    .collect()
            })
            .await
    }

    /// The refresh with this operation id, also if it has ended.
    pub(in crate::wallet) async fn pending_round(&self, id: &OperationId) -> Result<PendingRound> {
        let (keys, id) = (self.keys.clone(), id.clone());
        self.store
            .read(move |connection| {
                let row = operation::get(connection, &id)?;
                let missing = || Error::internal(anyhow::anyhow!("round {id} has no row"));
                let row = row.ok_or_else(missing)?;
                view(connection, &keys, &row, &state_of(&row)?)
            })
            .await
    }
}

/// The refreshes that have not succeeded, and the one with this unlock hash, as far as they can be read, oldest first.
pub(super) fn search(
    connection: &Connection,
    unlock_hash: UnlockHash,
) -> Result<Vec<(OperationRow, Round)>> {
    let kind = OperationKind::Round;
    let rows = operation::search(connection, kind, &unlock_hash.to_string())?;
    Ok(readable(rows))
}

fn readable(rows: Vec<OperationRow>) -> Vec<(OperationRow, Round)> {
    rows.into_iter()
        .filter(|row| row.kind == OperationKind::Round)
        .filter_map(|row| state_of(&row).ok().map(|round| (row, round)))
        .collect()
}

/// The unfinished refreshes that can be read, oldest first. The others stand in the list of what waits for the operator (H57).
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<(OperationRow, Round)>> {
    Ok(readable(operation::unfinished(connection)?))
}

fn view(
    connection: &Connection,
    keys: &WalletKeys,
    row: &OperationRow,
    round: &Round,
) -> Result<PendingRound> {
    let movement = end::movement_of(connection, &row.id)?;
    let missing = || Error::internal(anyhow::anyhow!("movement {} has no row", movement.0));
    let entry = movement::get(connection, movement)?.ok_or_else(missing)?;
    let plan = round.plan();
    let outputs = plan.requests(keys)?.into_iter().map(|request| RoundOutput {
        amount: request.amount,
        user_pubkey: request.policy.user_pubkey(),
    });
    Ok(PendingRound {
        movement: entry.id,
        created_at: entry.created_at,
        phase: phase(round, row.outcome),
        problem: row.last_error.clone(),
        inputs: plan.inputs.clone(),
        outputs: outputs.collect(),
        unlock_hash: round.unlock_hash(),
        scheduled_height: plan.scheduled(),
        funding_tx: round.exchange().map(|exchange| exchange.funding_tx.clone()),
    })
}

fn phase(round: &Round, outcome: Option<Outcome>) -> RoundPhase {
    if outcome == Some(Outcome::Failed) {
        return RoundPhase::Failed;
    }
    match round {
        Round::RegisterInputs(plan) => match plan.mode {
            Mode::Interactive | Mode::Automatic => RoundPhase::Waiting,
            Mode::Delegated { .. } | Mode::Recovered => RoundPhase::Delegated,
        },
        Round::Wait(_) => RoundPhase::Waiting,
        Round::Join { .. } | Round::Joined(_) | Round::Sign { .. } | Round::Signed { .. } => {
            RoundPhase::Ongoing
        }
        Round::Delegate(_) | Round::Delegated { .. } => RoundPhase::Delegated,
        Round::Issued(_) | Round::Confirm(_) => RoundPhase::Unconfirmed,
        Round::Forfeit(_) | Round::RegisterOutputs(_) => RoundPhase::Confirmed,
    }
}
