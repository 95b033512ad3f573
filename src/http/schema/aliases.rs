//! Documentation aliases: keys that the prose documentation of the wallet endpoints uses where the published API has different ones
//! (docs/protocol.md §25). Each repeats the value of another key, or the closest equivalent; the published clients ignore them.
//!
//! All aliases are defined here and made from the same value as the response itself. Where the documentation gives a key of the
//! published API another type or meaning, the published API takes precedence and there is no alias.

use ark_lib::VtxoId;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::wallet::{self, Subsystem, VtxoRecord, VtxoState};

/// Documentation aliases of the balance.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BalanceAliases {
    /// Documentation alias of `pending_in_round_sat`.
    pending_round_sat: u64,
    /// Documentation alias of `pending_lightning_send_sat`.
    pending_lightning_outbound_sat: u64,
    /// Documentation alias of `claimable_lightning_receive_sat`.
    pending_lightning_inbound_sat: u64,
}

impl From<&wallet::Balance> for BalanceAliases {
    fn from(balance: &wallet::Balance) -> Self {
        Self {
            pending_round_sat: balance.pending_in_round.to_sat(),
            pending_lightning_outbound_sat: balance.pending_lightning_send.to_sat(),
            pending_lightning_inbound_sat: balance.claimable_lightning_receive.to_sat(),
        }
    }
}

/// Documentation aliases of the Ark server's parameters.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ArkInfoAliases {
    /// Documentation alias of `server_pubkey`.
    pubkey: String,
    /// Documentation alias of `round_interval`, in seconds.
    round_interval_secs: u64,
    /// Documentation alias of `fees.board`.
    board_fees: BoardFeesAlias,
    /// Documentation alias of the Lightning parameters.
    lightning: LightningAlias,
}

/// Documentation alias: the fees of a board.
#[derive(Serialize, ToSchema)]
struct BoardFeesAlias {
    /// Documentation alias of `fees.board.min_fee_sat`.
    min_fee_sat: u64,
    /// Documentation alias of `fees.board.base_fee_sat`.
    base_fee_sat: u64,
    /// Documentation alias of `fees.board.ppm`.
    ppm: u64,
}

/// Documentation alias: the Lightning parameters.
#[derive(Serialize, ToSchema)]
struct LightningAlias {
    /// Whether the server supports invoices: `max_user_invoice_cltv_delta` is not 0.
    enabled: bool,
    /// Documentation alias of `htlc_expiry_delta`.
    cltv_expiry_delta: u16,
}

impl From<&ark_lib::ArkInfo> for ArkInfoAliases {
    fn from(info: &ark_lib::ArkInfo) -> Self {
        let board = &info.fees.board;
        Self {
            pubkey: info.server_pubkey.to_string(),
            round_interval_secs: info.round_interval.as_secs(),
            board_fees: BoardFeesAlias {
                min_fee_sat: board.min_fee.to_sat(),
                base_fee_sat: board.base_fee.to_sat(),
                ppm: board.ppm.0,
            },
            lightning: LightningAlias {
                enabled: u16::from(info.max_user_invoice_cltv_delta) > 0,
                cltv_expiry_delta: info.htlc_expiry_delta.into(),
            },
        }
    }
}

/// Documentation aliases of a VTXO.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VtxoAliases {
    /// Documentation alias of the VTXO's own keys.
    vtxo: VtxoAlias,
}

/// Documentation alias: a VTXO as an object of its own.
#[derive(Serialize, ToSchema)]
struct VtxoAlias {
    /// Documentation alias of `id`.
    #[schema(value_type = String)]
    id: VtxoId,
    /// Documentation alias of `amount_sat`.
    amount_sat: u64,
    /// Documentation alias of `expiry_height`.
    expiry_height: u32,
    /// Documentation alias of `policy_type`.
    spec: String,
}

impl From<&VtxoRecord> for VtxoAliases {
    fn from(record: &VtxoRecord) -> Self {
        Self {
            vtxo: VtxoAlias {
                id: record.id,
                amount_sat: record.amount.to_sat(),
                expiry_height: record.expiry_height.into(),
                spec: record.policy.to_string(),
            },
        }
    }
}

/// Documentation alias of a VTXO's state: its `type` as a key with an empty object.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::http) enum VtxoStateAlias {
    /// Documentation alias of `"type": "spendable"`.
    Spendable {},
    /// Documentation alias of `"type": "spent"`.
    Spent {},
    /// Documentation alias of `"type": "locked"`.
    Locked {},
    /// Documentation alias of `"type": "exited"`.
    Exited {},
}

impl From<&VtxoState> for VtxoStateAlias {
    fn from(state: &VtxoState) -> Self {
        match state {
            VtxoState::Spendable => Self::Spendable {},
            VtxoState::Spent => Self::Spent {},
            VtxoState::Locked(_) => Self::Locked {},
            VtxoState::Exited => Self::Exited {},
        }
    }
}

/// Documentation aliases of a movement.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementAliases {
    /// Documentation alias of `subsystem`, in one word, e.g. `arkoor_send`.
    movement_type: String,
    /// Documentation alias of `time.created_at`.
    timestamp: DateTime<Utc>,
    /// Documentation alias of `effective_balance_sat`.
    amount_sat: i64,
    /// Documentation alias of `offchain_fee_sat`.
    fee_sat: u64,
    /// Documentation alias of `input_vtxos`.
    #[schema(value_type = Vec<String>)]
    inputs: Vec<VtxoId>,
    /// Documentation alias of `output_vtxos`.
    #[schema(value_type = Vec<String>)]
    outputs: Vec<VtxoId>,
}

impl From<&wallet::Movement> for MovementAliases {
    fn from(movement: &wallet::Movement) -> Self {
        Self {
            movement_type: movement_type(movement.subsystem),
            timestamp: movement.created_at,
            amount_sat: movement.effective_balance.to_sat(),
            fee_sat: movement.offchain_fee.to_sat(),
            inputs: movement.input_vtxos.clone(),
            outputs: movement.output_vtxos.clone(),
        }
    }
}

/// Documentation aliases of a participation in a round.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RoundAliases {
    /// Documentation alias of `id`, as text.
    round_id: String,
    /// Documentation alias of the `time.created_at` of its movement.
    created_at: DateTime<Utc>,
}

impl From<&wallet::PendingRound> for RoundAliases {
    fn from(round: &wallet::PendingRound) -> Self {
        Self {
            round_id: round.movement.0.to_string(),
            created_at: round.created_at,
        }
    }
}

/// The subsystem and its action in one word, or the subsystem alone if it already ends with the action: `arkoor_send`, `board`.
fn movement_type(subsystem: Subsystem) -> String {
    let (name, kind) = (subsystem.name(), subsystem.kind());
    let part = name.strip_prefix("bark.").unwrap_or(name);
    if part.ends_with(kind) {
        part.to_owned()
    } else {
        format!("{part}_{kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movement_types_are_one_word() {
        assert_eq!(movement_type(Subsystem::ArkoorSend), "arkoor_send");
        assert_eq!(movement_type(Subsystem::ArkoorReceive), "arkoor_receive");
        assert_eq!(movement_type(Subsystem::Board), "board");
    }
}
