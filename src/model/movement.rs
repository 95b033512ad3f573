//! Movements: what happened to the balance, and why (docs/protocol.md §7).

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::OperationId;

/// The number of a movement, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MovementId(pub u32);

/// How far a movement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovementStatus {
    /// Under way.
    Pending,
    /// It happened.
    Successful,
    /// It did not happen.
    Failed,
    /// It was called off.
    Canceled,
}

impl MovementStatus {
    /// The status as the API and the table name it.
    pub fn name(self) -> &'static str {
        match self {
            MovementStatus::Pending => "pending",
            MovementStatus::Successful => "successful",
            MovementStatus::Failed => "failed",
            MovementStatus::Canceled => "canceled",
        }
    }

    /// The status with this name, `None` when there is no such status.
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

/// Which part of the wallet made a movement, and by what act (docs/protocol.md §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// An out-of-round payment to somebody.
    ArkoorSend,
    /// An out-of-round payment from somebody.
    ArkoorReceive,
    /// On-chain coins that become a VTXO.
    Board,
    /// VTXOs that become new ones in a round.
    Refresh,
    /// Whole VTXOs that become an on-chain output.
    Offboard,
    /// An on-chain payment out of VTXOs.
    SendOnchain,
}

impl Subsystem {
    /// Every subsystem that there is.
    pub const ALL: [Subsystem; 6] = [
        Subsystem::ArkoorSend,
        Subsystem::ArkoorReceive,
        Subsystem::Board,
        Subsystem::Refresh,
        Subsystem::Offboard,
        Subsystem::SendOnchain,
    ];

    /// The part of the wallet, as the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Subsystem::ArkoorSend | Subsystem::ArkoorReceive => "bark.arkoor",
            Subsystem::Board => "bark.board",
            Subsystem::Refresh => "bark.round",
            Subsystem::Offboard | Subsystem::SendOnchain => "bark.offboard",
        }
    }

    /// The act, as the API names it.
    pub fn kind(self) -> &'static str {
        match self {
            Subsystem::ArkoorSend => "send",
            Subsystem::ArkoorReceive => "receive",
            Subsystem::Board => "board",
            Subsystem::Refresh => "refresh",
            Subsystem::Offboard => "offboard",
            Subsystem::SendOnchain => "send_onchain",
        }
    }
}

/// Where money went or came in, in the words of the user who named it (docs/protocol.md §7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentMethod {
    /// An Ark address.
    Ark(String),
    /// A bitcoin address.
    Bitcoin(String),
    /// A script, lower-case hex.
    OutputScript(String),
    /// A BOLT11 or BOLT12 invoice.
    Invoice(String),
    /// A BOLT12 offer.
    Offer(String),
    /// `user@domain`.
    LightningAddress(String),
    /// A bech32 LNURL, lower case.
    Lnurl(String),
    /// Anything else.
    Custom(String),
}

impl PaymentMethod {
    /// The method's name in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            PaymentMethod::Ark(_) => "ark",
            PaymentMethod::Bitcoin(_) => "bitcoin",
            PaymentMethod::OutputScript(_) => "output-script",
            PaymentMethod::Invoice(_) => "invoice",
            PaymentMethod::Offer(_) => "offer",
            PaymentMethod::LightningAddress(_) => "lightning-address",
            PaymentMethod::Lnurl(_) => "lnurl",
            PaymentMethod::Custom(_) => "custom",
        }
    }

    /// The address, invoice, … itself.
    pub fn value(&self) -> &str {
        match self {
            PaymentMethod::Ark(value)
            | PaymentMethod::Bitcoin(value)
            | PaymentMethod::OutputScript(value)
            | PaymentMethod::Invoice(value)
            | PaymentMethod::Offer(value)
            | PaymentMethod::LightningAddress(value)
            | PaymentMethod::Lnurl(value)
            | PaymentMethod::Custom(value) => value,
        }
    }

    /// The method with this name, `None` when there is no such method. The value is not looked into.
    pub fn from_parts(kind: &str, value: String) -> Option<PaymentMethod> {
        Some(match kind {
            "ark" => PaymentMethod::Ark(value),
            "bitcoin" => PaymentMethod::Bitcoin(value),
            "output-script" => PaymentMethod::OutputScript(value),
            "invoice" => PaymentMethod::Invoice(value),
            "offer" => PaymentMethod::Offer(value),
            "lightning-address" => PaymentMethod::LightningAddress(value),
            "lnurl" => PaymentMethod::Lnurl(value),
            "custom" => PaymentMethod::Custom(value),
            _ => return None,
        })
    }
}

/// A payee or an own address, with what it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Where.
    pub method: PaymentMethod,
    /// How much.
    pub amount: Amount,
}

/// A movement to write.
#[derive(Debug)]
pub struct NewMovement<'a> {
    /// The operation behind it, if there is one.
    pub operation: Option<&'a OperationId>,
    /// How far it is.
    pub status: MovementStatus,
    /// Who made it.
    pub subsystem: Subsystem,
    /// What it means to do to the balance.
    pub intended_balance: SignedAmount,
    /// What it does to the balance.
    pub effective_balance: SignedAmount,
    /// What the server takes.
    pub offchain_fee: Amount,
    /// Whom it pays.
    pub sent_to: &'a [Transfer],
    /// Where it came in.
    pub received_on: &'a [Transfer],
    /// What it spends.
    pub input_vtxos: &'a [VtxoId],
    /// What it creates for us.
    pub output_vtxos: &'a [VtxoId],
    /// Facts of the subsystem.
    pub metadata: Map<String, Value>,
}

/// A movement as it stands.
#[derive(Clone, Debug)]
pub struct Movement {
    /// Its number.
    pub id: MovementId,
    /// How far it is.
    pub status: MovementStatus,
    /// Who made it.
    pub subsystem: Subsystem,
    /// Facts of the subsystem and of the user.
    pub metadata: Map<String, Value>,
    /// What it was meant to do to the balance.
    pub intended_balance: SignedAmount,
    /// What it did to the balance.
    pub effective_balance: SignedAmount,
    /// What the server took.
    pub offchain_fee: Amount,
    /// Whom it paid.
    pub sent_to: Vec<Transfer>,
    /// Where it came in.
    pub received_on: Vec<Transfer>,
    /// What it spent.
    pub input_vtxos: Vec<VtxoId>,
    /// What it created for us.
    pub output_vtxos: Vec<VtxoId>,
    /// What it took on chain.
    pub exited_vtxos: Vec<VtxoId>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
}

/// A part of the history.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// Only movements that paid to or came in on exactly this method.
    pub method: Option<PaymentMethod>,
    /// Only movements older than this one.
    pub before: Option<MovementId>,
    /// No more than so many.
    pub limit: Option<u32>,
}
