//! Movements, the entries of the history.

use ark_lib::VtxoId;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::aliases::MovementAliases;
use crate::wallet;

/// An entry of the history.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Movement {
    /// Its number.
    id: u32,
    /// How far it is.
    #[schema(value_type = MovementStatusInfo)]
    status: &'static str,
    /// Which part of the wallet made it.
    subsystem: MovementSubsystem,
    /// Facts of the subsystem, and whatever the user has added.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object, required = false)]
    metadata: Map<String, Value>,
    /// What it was meant to do to the balance, in satoshis.
    intended_balance_sat: i64,
    /// What it did to the balance, in satoshis.
    effective_balance_sat: i64,
    /// What the Ark server took, in satoshis.
    offchain_fee_sat: u64,
    /// Whom it paid.
    sent_to: Vec<MovementDestination>,
    /// Where it came in.
    received_on: Vec<MovementDestination>,
    /// The VTXOs that it spent.
    #[schema(value_type = Vec<String>)]
    input_vtxos: Vec<VtxoId>,
    /// The VTXOs that it brought us.
    #[schema(value_type = Vec<String>)]
    output_vtxos: Vec<VtxoId>,
    /// The VTXOs that it took on chain.
    #[schema(value_type = Vec<String>)]
    exited_vtxos: Vec<VtxoId>,
    /// When it happened.
    time: MovementTimestamp,
    #[serde(flatten)]
    aliases: MovementAliases,
}

/// How far a movement is.
#[derive(ToSchema)]
#[schema(as = MovementStatus, rename_all = "lowercase")]
#[allow(dead_code)]
enum MovementStatusInfo {
    Pending,
    Successful,
    Failed,
    Canceled,
}

/// Which part of the wallet made a movement.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementSubsystem {
    /// The part, e.g. `bark.arkoor`.
    name: &'static str,
    /// The act, e.g. `send`.
    kind: &'static str,
}

/// A payee or an own address, with what it got.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementDestination {
    /// Where.
    destination: PaymentMethod,
    /// How much, in satoshis.
    amount_sat: u64,
}

/// A way to be paid.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PaymentMethod {
    /// `ark`, `bitcoin`, `output-script`, `invoice`, `offer`, `lightning-address`, `lnurl` or `custom`.
    r#type: &'static str,
    /// The address, invoice, … itself.
    value: String,
}

/// When a movement happened.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementTimestamp {
    /// When it began.
    created_at: DateTime<Utc>,
    /// When it last changed.
    updated_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
}

impl From<wallet::Movement> for Movement {
    fn from(movement: wallet::Movement) -> Self {
        let aliases = (&movement).into();
        let destinations = |list: Vec<wallet::Transfer>| list.into_iter().map(Into::into).collect();
        Self {
            id: movement.id.0,
            status: movement.status.name(),
            subsystem: MovementSubsystem {
                name: movement.subsystem.name(),
                kind: movement.subsystem.kind(),
            },
            metadata: movement.metadata,
            intended_balance_sat: movement.intended_balance.to_sat(),
            effective_balance_sat: movement.effective_balance.to_sat(),
            offchain_fee_sat: movement.offchain_fee.to_sat(),
            sent_to: destinations(movement.sent_to),
            received_on: destinations(movement.received_on),
            input_vtxos: movement.input_vtxos,
            output_vtxos: movement.output_vtxos,
            exited_vtxos: movement.exited_vtxos,
            time: MovementTimestamp {
                created_at: movement.created_at,
                updated_at: movement.updated_at,
                completed_at: movement.completed_at,
            },
            aliases,
        }
    }
}

impl From<wallet::Transfer> for MovementDestination {
    fn from(destination: wallet::Transfer) -> Self {
        let method = destination.method;
        Self {
            destination: PaymentMethod {
                r#type: method.kind(),
                value: method.value().to_owned(),
            },
            amount_sat: destination.amount.to_sat(),
        }
    }
}
