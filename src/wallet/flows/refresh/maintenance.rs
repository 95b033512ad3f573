//! Keeping the coins fresh: what is due goes into the next round by itself (docs/protocol.md §4.5.5, §6.3).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ark_lib::VtxoId;

use super::pending::state;
use super::plan::{Mode, quote};
use crate::model::OperationKind;
use crate::store::operation;
use crate::wallet::coins::due::{Rules, Urgency};
use crate::wallet::coins::select;
use crate::wallet::engine::answer;
use crate::wallet::{Error, Result, Wallet};

/// How often the refresh is tried with fewer VTXOs, because the server refused some.
const MAX_EXCLUSIONS: usize = 10;
/// How long the server has to take the refresh or refuse it.
const PATIENCE: Duration = Duration::from_secs(60);

/// VTXOs that other refreshes have in hand.
struct SpokenFor {
    /// By one that takes part in the next round.
    soon: HashSet<VtxoId>,
    /// By one that was left with the server.
    delegated: HashSet<VtxoId>,
}

impl Wallet {
    /// Refreshes what is due, in the round that has just begun. What the server refuses is left out, and the rest goes on.
    ///
    /// # Errors
    /// The server or the chain is away, or the server refuses everything.
    pub async fn maintain(self: &Arc<Wallet>) -> Result<()> {
        let mut refused = HashSet::new();
        for _ in 0..MAX_EXCLUSIONS {
            let due = self.due(&refused).await?;
            if due.is_empty() {
                return Ok(());
            }
            tracing::info!(vtxos = due.len(), "refreshing what is due");
            let (_, progress) = self.start_refresh(due.clone(), Mode::Maintenance).await?;
            let Err(error) = answer(progress, PATIENCE).await else {
                return Ok(());
            };
            let named: Vec<VtxoId> = error
                .resources()
                .iter()
                .filter_map(|id| id.parse().ok())
                .collect();
            if named.is_empty() {
                return Err(error);
            }
            tracing::warn!(refused = ?named, %error, "the refresh goes on without the VTXOs that the server refuses");
            refused.extend(named);
        }
        Err(Error::conflict(
            "input_refused",
            "the Ark server refuses one VTXO after the other",
        ))
    }

    /// What a refresh in the next round should take; nothing when it would not be worth its fee.
    async fn due(&self, refused: &HashSet<VtxoId>) -> Result<Vec<VtxoId>> {
        let info = self.connected_info()?;
        let tip = self.chain.tip().await?.height;
        let rules = Rules {
            tip,
            threshold: self.settings.refresh_threshold,
            max_exit_depth: info.max_vtxo_exit_depth,
            fast_rate: self.chain.fee_rates().fast,
        };
        let live = self.store.live_vtxos();
        let free: Vec<_> = live
            .iter()
            .filter(|vtxo| select::is_free(vtxo) && !refused.contains(&vtxo.id))
            .collect();
        // Most of the time there is nothing to do, and then nothing is read either.
        if rules.due(free.iter().copied(), |_, _| false).is_empty() {
            return Ok(Vec::new());
        }
        let spoken_for = self.spoken_for().await?;
        let mut due = rules.due(free.iter().copied(), |id, urgency| {
            spoken_for.soon.contains(&id)
                || (urgency < Urgency::Must && spoken_for.delegated.contains(&id))
        });
        due.truncate(super::start::MAX_INPUTS);
        let chosen: Vec<_> = free
            .into_iter()
            .filter(|vtxo| due.contains(&vtxo.id))
            .cloned()
            .collect();
        if let Err(error) = quote(&info, &chosen, tip) {
            tracing::debug!(%error, "what is due is not worth a refresh");
            due.clear();
        }
        Ok(due)
    }

    async fn spoken_for(&self) -> Result<SpokenFor> {
        self.store
            .read(|connection| {
                let mut found = SpokenFor {
                    soon: HashSet::new(),
                    delegated: HashSet::new(),
                };
                for row in operation::unfinished(connection)? {
                    if row.kind != OperationKind::Round {
                        continue;
                    }
                    let round = state(&row)?;
                    let delegated = |mode| matches!(mode, Mode::Delegated { .. });
                    let later = round.plan().is_some_and(|plan| delegated(plan.mode));
                    let group = if later {
                        &mut found.delegated
                    } else {
                        &mut found.soon
                    };
                    group.extend(round.inputs().iter().copied());
                }
                Ok(found)
            })
            .await
    }
}
