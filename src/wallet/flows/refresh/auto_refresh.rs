//! The automatic refresh: each round takes the VTXOs that are due, and those that an earlier owner may soon claim on chain
//! (docs/protocol.md §4.3.1, §4.5.5, §6.3).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ark_lib::VtxoId;

use super::list;
use super::plan::Mode;
use super::quote::{fitting, quote};
use super::start::MAX_INPUTS;
use crate::model::{Attention, VtxoRecord};
use crate::wallet::account::ceiling::ABOVE_CEILING;
use crate::wallet::coins::due::{Rules, Urgency};
use crate::wallet::coins::select;
use crate::wallet::engine::answer;
use crate::wallet::{Error, Result, Wallet};

/// How often one round is tried without the VTXOs that the server refused.
const MAX_EXCLUSIONS: usize = 10;
/// How long the server has to accept or refuse the inputs.
const PATIENCE: Duration = Duration::from_secs(60);

/// VTXOs that are inputs of unfinished refreshes.
#[derive(Default)]
struct Refreshing {
    /// Of a delegated one that waits for its round, which may be scheduled for a later height.
    delegated: HashSet<VtxoId>,
    /// Of any other.
    now: HashSet<VtxoId>,
}

impl Wallet {
    /// Refreshes the VTXOs that are due, in the round that has just started. VTXOs that the server refuses are excluded, and
    /// the rest is tried again. A fee above its ceiling is not paid; it waits for the operator (H47).
    ///
    /// # Errors
    /// `server_unavailable`, `chain_unavailable`, or `input_refused` if the server refuses VTXOs each time.
    pub async fn auto_refresh(self: &Arc<Wallet>) -> Result<()> {
        let subject = "automatic refresh".to_owned();
        match self.refresh_due().await {
            Err(error) if error.code() == ABOVE_CEILING => {
                self.raise(Attention {
                    code: ABOVE_CEILING.into(),
                    subject,
                    message: format!("VTXOs are due for a refresh, but {}.", error.message()),
                    what_to_do: "Raise max_auto_refresh_fee_sat or max_auto_refresh_fee_ppm, refresh by a request, or ask the operator of the server, before the VTXOs expire.".into(),
                })
                .await
            }
            Err(error) => Err(error),
            Ok(()) => self.clear(ABOVE_CEILING, subject).await,
        }
    }

    async fn refresh_due(self: &Arc<Wallet>) -> Result<()> {
        let mut refused = HashSet::new();
        for _ in 0..MAX_EXCLUSIONS {
            let due = self.due(&refused).await?;
            if due.is_empty() {
                return Ok(());
            }
            tracing::info!(vtxos = due.len(), "refreshing the VTXOs that are due");
            let (_, progress) = self.start_refresh(due, Mode::Automatic).await?;
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
            tracing::warn!(refused = ?named, %error, "retrying the refresh without the VTXOs that the server refuses");
            refused.extend(named);
        }
        Err(Error::conflict(
            "input_refused",
            "the Ark server refuses VTXOs in each try of the automatic refresh",
        ))
    }

    /// The VTXOs to refresh in the next round; none if their sum does not cover the fee.
    ///
    /// # Errors
    /// `fee_above_ceiling`, `server_unavailable`, `chain_unavailable`.
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
        let exposed = self.exposed_vtxos().await?;
        let is_exposed = |vtxo: &&&Arc<VtxoRecord>| exposed.contains(&vtxo.id);
        // Usually nothing is due; this check spares the read of the unfinished operations.
        if rules.due(free.iter().copied(), |_, _| false).is_empty()
            && !free.iter().any(|vtxo| is_exposed(&vtxo))
        {
            return Ok(Vec::new());
        }
        let refreshing = self.refreshing().await?;
        let mut due = rules.due(free.iter().copied(), |id, urgency| {
            refreshing.now.contains(&id)
                || (urgency < Urgency::Must && refreshing.delegated.contains(&id))
        });
        let threatened = free.iter().filter(is_exposed).map(|vtxo| vtxo.id);
        for id in threatened.filter(|id| !refreshing.now.contains(id)) {
            if !due.contains(&id) {
                due.insert(0, id);
            }
        }
        due.truncate(MAX_INPUTS);
        let mut chosen: Vec<_> = free
            .into_iter()
            .filter(|vtxo| due.contains(&vtxo.id))
            .cloned()
            .collect();
        chosen.truncate(fitting(&info, &chosen).max(1));
        match quote(
            &info,
            &self.settings.ceilings,
            Mode::Automatic.charge(),
            &chosen,
            tip,
        ) {
            Ok(_) => Ok(chosen.iter().map(|vtxo| vtxo.id).collect()),
            Err(error) if error.code() == ABOVE_CEILING => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the VTXOs that are due cannot be refreshed together");
                Ok(Vec::new())
            }
        }
    }

    async fn refreshing(&self) -> Result<Refreshing> {
        self.store
            .read(|connection| {
                let mut found = Refreshing::default();
                for (_, round) in list::unfinished(connection)? {
                    let plan = round.plan();
                    let delegated = matches!(plan.mode, Mode::Delegated { .. });
                    let group = if delegated && round.exchange().is_none() {
                        &mut found.delegated
                    } else {
                        &mut found.now
                    };
                    group.extend(plan.inputs.iter().copied());
                }
                Ok(found)
            })
            .await
    }
}
