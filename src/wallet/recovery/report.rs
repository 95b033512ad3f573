//! What the last recovery has found, for `GET /wallet`.

use bitcoin::Amount;

use super::{Recovery, unproven};
use crate::model::{LeftOut, RecoveryRow, Verdict};
use crate::store::{operation, recovery};
use crate::wallet::engine::state_of;
use crate::wallet::{Result, Wallet};

/// Entries that a report lists one by one.
const LISTED: u32 = 100;

/// What a recovery has found so far.
#[derive(Clone, Debug)]
pub struct RecoveryReport {
    /// The recovery.
    pub row: RecoveryRow,
    /// What it does now: a stable word; `done` at its end.
    pub phase: &'static str,
    /// Why its last try failed.
    pub problem: Option<String>,
    /// VTXOs that it knows of.
    pub found: u64,
    /// How many have which verdict, in the order of [`Verdict::ALL`].
    pub verdicts: Vec<(Verdict, u64)>,
    /// VTXOs that count as spent on the server's word alone, whichever recovery has asked.
    pub spent_unproven: u64,
    /// What they are worth.
    pub spent_unproven_amount: Amount,
    /// Those that are neither recovered nor spent, at most 100.
    pub left_out: Vec<LeftOut>,
}

impl Wallet {
    /// The last recovery; `None` if there was none.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn recovery(&self) -> Result<Option<RecoveryReport>> {
        self.store
            .read(|connection| {
                let Some(row) = recovery::last(connection)? else {
                    return Ok(None);
                };
                let operation = operation::get(connection, &row.id)?;
                let running = operation.filter(|it| it.outcome.is_none());
                let phase = match &running {
                    Some(running) => state_of::<Recovery>(running)?.phase(),
                    None => "done",
                };
                let mut verdicts = Vec::new();
                for verdict in Verdict::ALL {
                    let count = recovery::with_verdict(connection, &row.id, verdict)?;
                    verdicts.push((verdict, count));
                }
                let unproven = recovery::unproven_spends(connection)?;
                Ok(Some(RecoveryReport {
                    spent_unproven: unproven.len() as u64,
                    spent_unproven_amount: unproven::total(&unproven),
                    phase,
                    problem: running.and_then(|running| running.last_error),
                    found: recovery::found(connection, &row.id)?,
                    verdicts,
                    left_out: recovery::left_out(connection, &row.id, LISTED)?,
                    row,
                }))
            })
            .await
    }
}
