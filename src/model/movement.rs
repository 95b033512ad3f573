//! Movements: the entries of the history, one for each change of the balance (docs/protocol.md §7).

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Facts, OperationId, PaymentMethod, Transfer};

/// The number of a movement, assigned in the order of creation from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MovementId(pub u32);

/// The state of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MovementStatus {
    /// The operation behind it has not ended.
    Pending,
    /// The operation did what was asked.
    Successful,
    /// The operation failed; its inputs are free again or accounted for.
    Failed,
    /// The operation was cancelled before it took effect.
    Canceled,
}

impl MovementStatus {
    /// The name of the status in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            MovementStatus::Pending => "pending",
            MovementStatus::Successful => "successful",
            MovementStatus::Failed => "failed",
            MovementStatus::Canceled => "canceled",
        }
    }

    /// The status with this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<MovementStatus> {
        [
            MovementStatus::Pending,
            MovementStatus::Successful,
            MovementStatus::Failed,
            MovementStatus::Canceled,
        ]
        .into_iter()
        .find(|status| status.name() == name)
    }
}

/// What kind of operation made a movement (docs/protocol.md §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subsystem {
    /// An out-of-round (arkoor) payment to another wallet.
    ArkoorSend,
    /// An out-of-round (arkoor) payment from another wallet.
    ArkoorReceive,
    /// A board: on-chain coins become a VTXO.
    Board,
    /// A refresh: a round replaces VTXOs by new ones.
    Refresh,
    /// An offboard: whole VTXOs become an on-chain output, which the fee reduces.
    Offboard,
    /// An on-chain payment of an exact amount out of VTXOs; the fee comes on top.
    SendOnchain,
    /// A Lightning payment to somebody else.
    LightningSend,
    /// A Lightning payment to the wallet.
    LightningReceive,
    /// A unilateral exit: a VTXO is put on chain and claimed.
    Exit,
    /// A recovery: VTXOs that the database did not know, or whose spend it did not know.
    Recovery,
}

impl Subsystem {
    /// Every subsystem.
    pub const ALL: [Subsystem; 10] = [
        Subsystem::ArkoorSend,
        Subsystem::ArkoorReceive,
        Subsystem::Board,
        Subsystem::Refresh,
        Subsystem::Offboard,
        Subsystem::SendOnchain,
        Subsystem::LightningSend,
        Subsystem::LightningReceive,
        Subsystem::Exit,
        Subsystem::Recovery,
    ];

    /// The name of the subsystem in the API.
    pub fn name(self) -> &'static str {
        match self {
            Subsystem::ArkoorSend | Subsystem::ArkoorReceive => "bark.arkoor",
            Subsystem::Board => "bark.board",
            Subsystem::Refresh => "bark.round",
            Subsystem::Offboard | Subsystem::SendOnchain => "bark.offboard",
            Subsystem::LightningSend => "bark.lightning_send",
            Subsystem::LightningReceive => "bark.lightning_receive",
            Subsystem::Exit => "bark.exit",
            Subsystem::Recovery => "bark.recovery",
        }
    }

    /// The kind of movement within the subsystem, as the API names it.
    pub fn kind(self) -> &'static str {
        match self {
            Subsystem::ArkoorSend | Subsystem::LightningSend => "send",
            Subsystem::ArkoorReceive | Subsystem::LightningReceive => "receive",
            Subsystem::Board => "board",
            Subsystem::Refresh => "refresh",
            Subsystem::Offboard => "offboard",
            Subsystem::SendOnchain => "send_onchain",
            Subsystem::Exit => "start",
            Subsystem::Recovery => "recover",
        }
    }
}

/// A movement to be stored.
#[derive(Debug)]
pub struct NewMovement<'a> {
    /// The operation that makes it; `None` if a single write does.
    pub operation: Option<&'a OperationId>,
    /// The state to store.
    pub status: MovementStatus,
    /// What kind of operation makes it.
    pub subsystem: Subsystem,
    /// The change of the balance that was asked for.
    pub intended_balance: SignedAmount,
    /// The change of the balance with fees.
    pub effective_balance: SignedAmount,
    /// The Ark server's fee.
    pub offchain_fee: Amount,
    /// The payees.
    pub sent_to: &'a [Transfer],
    /// The own addresses that were paid.
    pub received_on: &'a [Transfer],
    /// The VTXOs that it spends.
    pub input_vtxos: &'a [VtxoId],
    /// The VTXOs that it creates for this wallet.
    pub output_vtxos: &'a [VtxoId],
    /// Details of the subsystem, such as transaction ids.
    pub metadata: Facts,
}

/// A stored movement. Its JSON is that of events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Movement {
    /// Its number.
    pub id: MovementId,
    /// Its state.
    pub status: MovementStatus,
    /// What kind of operation made it.
    pub subsystem: Subsystem,
    /// Details of the subsystem, and what API clients added.
    pub metadata: Map<String, Value>,
    /// The change of the balance that was asked for.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub intended_balance: SignedAmount,
    /// The change of the balance with fees.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub effective_balance: SignedAmount,
    /// The Ark server's fee.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub offchain_fee: Amount,
    /// The payees.
    pub sent_to: Vec<Transfer>,
    /// The own addresses that were paid.
    pub received_on: Vec<Transfer>,
    /// The VTXOs that it spends.
    pub input_vtxos: Vec<VtxoId>,
    /// The VTXOs that it created for this wallet.
    pub output_vtxos: Vec<VtxoId>,
    /// The VTXOs that it exited on chain.
    pub exited_vtxos: Vec<VtxoId>,
    /// When it was stored first.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it ended; `None` while it is pending.
    pub completed_at: Option<DateTime<Utc>>,
}

/// Which movements a query of the history returns, newest first.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// Only movements that paid, or were paid on, exactly this address, invoice or the like.
    pub method: Option<PaymentMethod>,
    /// Only movements that the request with this idempotency key began.
    pub idempotency_key: Option<String>,
    /// Only movements older than this one.
    pub before: Option<MovementId>,
    /// At most this many; `None` for all.
    pub limit: Option<u32>,
}
