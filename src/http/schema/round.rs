//! Participations in rounds.

use bitcoin::consensus::encode::serialize_hex;
use serde::Serialize;
use utoipa::ToSchema;

use super::aliases::RoundAliases;
use crate::wallet::{PendingRound, RoundPhase};

/// A participation in a round.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PendingRoundInfo {
    /// Its name; also that of its movement.
    id: u32,
    /// What there is to say about it.
    status: RoundStatus,
    /// How far it is: `delegated-pending`, `pending`, `ongoing`, `awaiting-confirmations` or `failed`.
    state: String,
    /// What it swaps for what.
    participation: RoundParticipationInfo,
    /// The name that the Ark server gave it, hex.
    unlock_hash: Option<String>,
    /// No round before this height carries it out.
    #[schema(required = false)]
    scheduled_height: Option<u32>,
    /// The transaction of its round.
    funding_txid: Option<String>,
    /// All of that transaction, hex.
    funding_tx_hex: Option<String>,
    #[serde(flatten)]
    aliases: RoundAliases,
}

/// What a participation swaps for what.
#[derive(Serialize, ToSchema)]
struct RoundParticipationInfo {
    /// The VTXOs that it gives up, `txid:vout`.
    inputs: Vec<String>,
    /// The VTXOs that it asks for.
    outputs: Vec<RoundOutputInfo>,
}

/// A VTXO that a round is asked for.
#[derive(Serialize, ToSchema)]
struct RoundOutputInfo {
    /// Its value, in satoshis.
    amount_sat: u64,
    /// The kind of policy under which it can be spent.
    policy_type: String,
    /// The owner's public key.
    user_pubkey: String,
}

/// What there is to say about a participation.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "kebab-case")]
enum RoundStatus {
    /// The last try of its present step failed; it goes on by itself.
    SyncError {
        /// Why.
        error: String,
    },
    /// Its round is deep enough.
    Confirmed {
        /// The transaction of the round.
        funding_txid: String,
    },
    /// Its round has happened.
    Unconfirmed {
        /// The transaction of the round.
        funding_txid: String,
    },
    /// Its round has not happened.
    Pending,
    /// It came to nothing.
    Failed {
        /// Why.
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
            state: state.to_owned(),
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
