//! Rounds at fixed times, and changes of their timing (docs/protocol.md §37.1).

use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use server_rpc::protos;
use tokio::time::sleep;

use super::super::state::Ark;
use super::super::status::RpcError;
use super::{RoundConfig, RoundConfigChange};

impl Ark {
    /// The timing in force.
    pub(in super::super) fn round_config(&self) -> RoundConfig {
        *self
            .round_config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the timing from the next step of a round on.
    pub(in super::super) fn change_round_config(
        &self,
        change: RoundConfigChange,
    ) -> anyhow::Result<()> {
        let mut config = self
            .round_config
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *config = config.changed_by(change)?;
        self.rounds.config_changed.notify_one();
        Ok(())
    }

    /// Runs a round after every interval until this run ends; skips it if there is no subscriber and no delegated participation.
    pub(in super::super) async fn schedule_rounds(&self) {
        let rounds = async {
            loop {
                tokio::select! {
                    () = sleep(self.until_next_round()) => {}
                    () = self.rounds.config_changed.notified() => continue,
                }
                if let Err(error) = self.run_scheduled_round().await {
                    tracing::warn!(error = %format_args!("{error:#}"), "scheduled round failed");
                }
            }
        };
        self.alive.run_until_cancelled(rounds).await;
    }

    async fn run_scheduled_round(&self) -> anyhow::Result<()> {
        let tip = self.chain.tip().await?.height;
        let wanted =
            self.rounds.events.has_subscribers() || !self.store.due_participations(tip)?.is_empty();
        if wanted {
            self.run_round().await?;
        }
        Ok(())
    }

    /// `NextRoundTime`.
    pub(in super::super) async fn next_round_time(
        &self,
        _request: protos::Empty,
    ) -> Result<protos::NextRoundTimeResponse, RpcError> {
        let timestamp = (SystemTime::now() + self.until_next_round())
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|error| RpcError::Internal(error.into()))?
            .as_secs();
        Ok(protos::NextRoundTimeResponse { timestamp })
    }

    fn until_next_round(&self) -> Duration {
        let elapsed = self.started.elapsed().unwrap_or_default();
        until_next_tick(elapsed, self.round_config().interval)
    }
}

/// The time that is left of the interval running now.
fn until_next_tick(elapsed: Duration, interval: Duration) -> Duration {
    let into_current = Duration::from_secs_f64(elapsed.as_secs_f64() % interval.as_secs_f64());
    interval.saturating_sub(into_current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_tick_from_the_start_of_the_server() {
        let left =
            |secs| until_next_tick(Duration::from_secs(secs), Duration::from_secs(30)).as_secs();
        assert_eq!(left(0), 30);
        assert_eq!(left(29), 1);
        assert_eq!(left(30), 30);
        assert_eq!(left(95), 25);
    }
}
