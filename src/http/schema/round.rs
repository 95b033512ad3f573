//! Participations in rounds.

use bitcoin::consensus::encode::serialize_hex;
use serde::Serialize;
use utoipa::ToSchema;

use super::aliases::RoundAliases;
use crate::wallet::{PendingRound, RoundPhase};

/// A participation in a round.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PendingRoundInfo {
    /// Its id, which is also the id of its movement.
    id: u32,
    /// Its status.
    status: RoundStatus,
    /// Its state.
    #[schema(value_type = RoundFlowState)]
    state: &'static str,
    /// The VTXOs that it swaps.
    participation: RoundParticipationInfo,
    /// The id that the Ark server gave it, hex.
    #[schema(required)]
    unlock_hash: Option<String>,
    /// The earliest block height at which a round may carry it out.
    #[schema(required = false)]
    scheduled_height: Option<u32>,
    /// The id of its round's funding transaction.
    #[schema(required)]
    funding_txid: Option<String>,
    /// The funding transaction, hex.
    funding_tx_hex: Option<String>,
    #[serde(flatten)]
    aliases: RoundAliases,
}

/// The state of a participation.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code)]
enum RoundFlowState {
    /// The Ark server carries it out by itself.
    DelegatedPending,
    /// It waits for a round.
    Pending,
    /// Its round has begun.
    Ongoing,
    /// Its round is complete.
    AwaitingConfirmations,
    /// It failed.
    Failed,
}

/// The VTXOs that a participation swaps.
#[derive(Serialize, ToSchema)]
struct RoundParticipationInfo {
    /// The VTXOs that it gives up, `txid:vout`.
    inputs: Vec<String>,
    /// The VTXOs that it requests.
    outputs: Vec<RoundOutputInfo>,
}

/// A VTXO that is requested from a round.
#[derive(Serialize, ToSchema)]
struct RoundOutputInfo {
    /// Its value, in satoshis.
    amount_sat: u64,
    /// The kind of its spending policy.
    policy_type: String,
    /// The owner's public key.
    user_pubkey: String,
}

/// The status of a participation.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "kebab-case")]
enum RoundStatus {
    /// The last attempt failed; it is retried in the background.
    SyncError {
        /// The reason.
        error: String,
    },
    /// Its round has enough confirmations.
    Confirmed {
        /// The id of the round's funding transaction.
        funding_txid: String,
    },
    /// Its round is complete, but its funding transaction has too few confirmations.
    Unconfirmed {
        /// The id of the round's funding transaction.
        funding_txid: String,
    },
    /// Its round is not complete.
    Pending,
    /// It failed.
    Failed {
        /// The reason.
        error: String,
    },
}

impl From<PendingRound> for PendingRoundInfo {
    fn from(round: PendingRound) -> Self {
        let aliases = (&round).into();
        let funding_txid = round
            .funding_tx
            .as_ref()
            .map(|transaction| transaction.compute_txid().to_string());
        let state = match round.phase {
            RoundPhase::Delegated => "delegated-pending",
            RoundPhase::Waiting => "pending",
            RoundPhase::Ongoing => "ongoing",
            RoundPhase::Unconfirmed | RoundPhase::Confirmed => "awaiting-confirmations",
            RoundPhase::Failed => "failed",
        };
        let problem = round.problem.unwrap_or_default();
        let status = match (round.phase, funding_txid.clone()) {
            (RoundPhase::Failed, _) => RoundStatus::Failed { error: problem },
            _ if !problem.is_empty() => RoundStatus::SyncError { error: problem },
            (RoundPhase::Unconfirmed, Some(funding_txid)) => {
                RoundStatus::Unconfirmed { funding_txid }
            }
            (RoundPhase::Confirmed, Some(funding_txid)) => RoundStatus::Confirmed { funding_txid },
            _ => RoundStatus::Pending,
        };
        let outputs = round.outputs.iter().map(|output| RoundOutputInfo {
            amount_sat: output.amount.to_sat(),
            policy_type: "pubkey".to_owned(),
            user_pubkey: output.user_pubkey.to_string(),
        });
        PendingRoundInfo {
            id: round.movement.0,
            status,
            state,
            participation: RoundParticipationInfo {
                inputs: round.inputs.iter().map(ToString::to_string).collect(),
                outputs: outputs.collect(),
            },
            unlock_hash: round.unlock_hash.map(|hash| hash.to_string()),
            scheduled_height: round.scheduled_height.map(Into::into),
            funding_txid,
            funding_tx_hex: round.funding_tx.as_ref().map(serialize_hex),
            aliases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::MovementId;
    use serde_json::json;

    fn round(phase: RoundPhase, problem: Option<&str>) -> PendingRound {
        PendingRound {
            movement: MovementId(7),
            created_at: chrono::DateTime::UNIX_EPOCH,
            phase,
            problem: problem.map(str::to_owned),
            inputs: Vec::new(),
            outputs: Vec::new(),
            unlock_hash: None,
            scheduled_height: None,
            funding_tx: None,
        }
    }

    #[test]
    fn the_status_has_its_own_tag() {
        let shown = |round| serde_json::to_value(PendingRoundInfo::from(round)).unwrap();
        let waiting = shown(round(RoundPhase::Waiting, None));
        assert_eq!(waiting["status"], json!({"status": "pending"}));
        assert_eq!(waiting["state"], "pending");
        assert_eq!(
            (&waiting["id"], &waiting["round_id"]),
            (&json!(7), &json!("7"))
        );
        assert_eq!(waiting["created_at"], "1970-01-01T00:00:00Z");
        let stuck = shown(round(RoundPhase::Delegated, Some("away")));
        assert_eq!(
            stuck["status"],
            json!({"status": "sync-error", "error": "away"})
        );
        let failed = shown(round(RoundPhase::Failed, Some("no")));
        assert_eq!(failed["status"], json!({"status": "failed", "error": "no"}));
    }
}
