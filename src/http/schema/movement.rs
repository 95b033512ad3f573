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
    /// Its id.
    id: u32,
    /// Its status.
    #[schema(value_type = MovementStatusInfo)]
    status: &'static str,
    /// The part of the wallet that made it.
    subsystem: MovementSubsystem,
    /// Data of the subsystem, and the notes of the user.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object, required = false)]
    metadata: Map<String, Value>,
    /// The intended change of the balance, in satoshis.
    intended_balance_sat: i64,
    /// The actual change of the balance, in satoshis.
    effective_balance_sat: i64,
    /// The fee of the Ark server, in satoshis.
    offchain_fee_sat: u64,
    /// The payees.
    sent_to: Vec<MovementDestination>,
    /// The own addresses that received it.
    received_on: Vec<MovementDestination>,
    /// The VTXOs that it spent.
    #[schema(value_type = Vec<String>)]
    input_vtxos: Vec<VtxoId>,
    /// The VTXOs of this wallet that it created.
    #[schema(value_type = Vec<String>)]
    output_vtxos: Vec<VtxoId>,
    /// The VTXOs that it moved on chain with a unilateral exit.
    #[schema(value_type = Vec<String>)]
    exited_vtxos: Vec<VtxoId>,
    /// Its times.
    time: MovementTimestamp,
    #[serde(flatten)]
    aliases: MovementAliases,
}

/// The status of a movement.
#[derive(ToSchema)]
#[schema(as = MovementStatus, rename_all = "lowercase")]
#[allow(dead_code)]
enum MovementStatusInfo {
    Pending,
    Successful,
    Failed,
    Canceled,
}

/// The part of the wallet that made a movement.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementSubsystem {
    /// The part of the wallet, e.g. `bark.arkoor`.
    name: &'static str,
    /// The action, e.g. `send`.
    kind: &'static str,
}

/// A payee or an own address, with the amount it received.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementDestination {
    /// The address, invoice or other payment method.
    destination: PaymentMethod,
    /// The amount, in satoshis.
    amount_sat: u64,
}

/// A payment method with its value.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PaymentMethod {
    /// What the value is.
    #[schema(value_type = PaymentMethodType)]
    r#type: &'static str,
    /// The address, invoice, … itself.
    value: String,
}

/// What the value of a payment method is.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code)]
enum PaymentMethodType {
    Ark,
    Bitcoin,
    OutputScript,
    Invoice,
    Offer,
    LightningAddress,
    Lnurl,
    Custom,
}

/// The times of a movement.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct MovementTimestamp {
    /// When it was created.
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
