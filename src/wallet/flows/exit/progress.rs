//! Moves all exits as far as they can go now.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::FeeRate;
use bitcoin_ext::BlockHeight;

use super::list::{ExitDetail, ExitFilter, ExitStatus};
use crate::model::{ExitRow, ExitState, OperationId};
use crate::store::{exit, operation};
use crate::wallet::{PATIENCE, Result, Wallet};

/// The pause before exits whose step has failed are woken again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How far the exits are.
#[derive(Debug)]
pub struct ExitProgress {
    /// Those that are under way, and those that have ended without a claim meanwhile.
    pub exits: Vec<ExitStatus>,
    /// Whether all that are under way can be claimed, or are being claimed.
    pub done: bool,
    /// The height from which on all of them can be claimed, once it is known.
    pub claimable_height: Option<BlockHeight>,
}

impl Wallet {
    /// Syncs the on-chain wallet, and lets every exit take the steps that it can take now. `fee_rate` is the rate for the exits under way
    /// from now on. With `wait`, steps that fail are repeated until nothing more can be done before the next block, at most for 20
    /// seconds.
    ///
    /// # Errors
    /// `chain_unavailable`; the database's.
    pub async fn progress_exits(
        self: &Arc<Wallet>,
        wait: bool,
        fee_rate: Option<FeeRate>,
    ) -> Result<ExitProgress> {
        self.chain.tip().await?;
        self.onchain.sync().await?;
        // Exits go on with the coins that there are.
        if let Err(error) = self.serve_exits().await {
            tracing::warn!(?error, "reserve or claims of exits failed");
        }
        if let Some(fee_rate) = fee_rate {
            let write = move |tx: &mut crate::store::WriteTx<'_>| -> Result<()> {
                Ok(exit::set_fee_rate(tx, fee_rate)?)
            };
            self.store.write(write).await?;
        }
        let before = self.live_exits().await?;
        let operations: Vec<OperationId> =
            before.iter().map(|exit| exit.operation.clone()).collect();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let rested = self.operations.nudge_some(&operations, left).await;
            if !wait || !rested || !self.is_failing(operations.clone()).await? {
                break;
            }
            tokio::time::sleep(RETRY_PAUSE.min(left)).await;
        }
        let mut exits = self.exits(ExitFilter::All, ExitDetail::default()).await?;
        exits.retain(|exit| {
            let is_claimed = matches!(exit.row.state, ExitState::Claimed { .. });
            !is_claimed && before.iter().any(|before| before.id == exit.row.id)
        });
        let states = || exits.iter().map(|exit| &exit.row.state);
        let is_under_way = |state: &ExitState| {
            matches!(
                state,
                ExitState::Start | ExitState::Processing { .. } | ExitState::AwaitingDelta { .. }
            )
        };
        let is_unknown =
            |state: &ExitState| matches!(state, ExitState::Start | ExitState::Processing { .. });
        let height = match states().any(is_unknown) {
            true => None,
            false => states().filter_map(height_of).max(),
        };
        Ok(ExitProgress {
            done: !states().any(is_under_way),
            claimable_height: height,
            exits,
        })
    }

    /// The exits that are under way, newest first.
    pub(in crate::wallet) async fn live_exits(&self) -> Result<Vec<ExitRow>> {
        Ok(self.store.read(exit::live).await?)
    }

    /// Whether the last step of one of these operations has failed.
    async fn is_failing(&self, operations: Vec<OperationId>) -> Result<bool> {
        self.store
            .read(move |connection| {
                for id in operations {
                    let row = operation::get(connection, &id)?;
                    if row.is_some_and(|row| row.outcome.is_none() && row.attempts > 0) {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
            .await
    }
}

/// The height from which on an exit can be claimed.
fn height_of(state: &ExitState) -> Option<BlockHeight> {
    match state {
        ExitState::AwaitingDelta {
            claimable_height, ..
        } => Some(*claimable_height),
        ExitState::Claimable { claimable_since }
        | ExitState::ClaimInProgress {
            claimable_since, ..
        } => Some(claimable_since.height),
        _ => None,
    }
}
