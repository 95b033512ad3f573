//! Operations: actions that move money and take more than one write.

use std::fmt;

use ark_lib::lightning::PaymentHash;
use bitcoin::hex::DisplayHex;
use serde::{Deserialize, Serialize};

/// The id of an operation. It is never used twice, except for a Lightning payment that failed and is made again; the API shows it as `action_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperationId(String);

impl OperationId {
    /// A new random id of 128 bits.
    pub fn random() -> OperationId {
        OperationId(rand::random::<[u8; 16]>().to_lower_hex_string())
    }

    /// The id of the payment of the invoice with this payment hash.
    pub fn lightning_send(hash: PaymentHash) -> OperationId {
        OperationId(format!("ln_pay.{hash}"))
    }

    /// The id of the claim of the payment to the wallet with this payment hash.
    pub fn lightning_receive(hash: PaymentHash) -> OperationId {
        OperationId(format!("ln_recv.{hash}"))
    }

    /// The id of the recovery before which there were this many.
    pub fn recovery(earlier: u32) -> OperationId {
        OperationId(match earlier {
            0 => "recovery".to_owned(),
            earlier => format!("recovery.{}", earlier + 1),
        })
    }

    /// The payment hash of the invoice that the operation with this id pays; `None` if it is another operation.
    pub fn paid_hash(&self) -> Option<PaymentHash> {
        self.0.strip_prefix("ln_pay.")?.parse().ok()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for OperationId {
    fn from(id: String) -> OperationId {
        OperationId(id)
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Turns on-chain coins into a VTXO.
    Board,
    /// Pays another wallet on the same Ark server out of round.
    ArkoorSend,
    /// Replaces VTXOs by new ones in a round.
    Round,
    /// Pays on chain out of VTXOs.
    Offboard,
    /// Pays a Lightning invoice.
    LightningSend,
    /// Claims a Lightning payment to the wallet.
    LightningReceive,
    /// Puts a VTXO on chain.
    Exit,
    /// Finds VTXOs of the wallet that its database does not know.
    Recovery,
}

impl OperationKind {
    /// The name of the kind in the database.
    pub fn name(self) -> &'static str {
        match self {
            OperationKind::Board => "board",
            OperationKind::ArkoorSend => "arkoor_send",
            OperationKind::Round => "round",
            OperationKind::Offboard => "offboard",
            OperationKind::LightningSend => "lightning_send",
            OperationKind::LightningReceive => "lightning_receive",
            OperationKind::Exit => "exit",
            OperationKind::Recovery => "recovery",
        }
    }

    /// Whether it spends VTXOs that the wallet has.
    pub fn spends_vtxos(self) -> bool {
        match self {
            OperationKind::ArkoorSend
            | OperationKind::Round
            | OperationKind::Offboard
            | OperationKind::LightningSend => true,
            OperationKind::Board
            | OperationKind::LightningReceive
            | OperationKind::Exit
            | OperationKind::Recovery => false,
        }
    }

    /// The kind with this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<OperationKind> {
        Some(match name {
            "board" => OperationKind::Board,
            "arkoor_send" => OperationKind::ArkoorSend,
            "round" => OperationKind::Round,
            "offboard" => OperationKind::Offboard,
            "lightning_send" => OperationKind::LightningSend,
            "lightning_receive" => OperationKind::LightningReceive,
            "exit" => OperationKind::Exit,
            "recovery" => OperationKind::Recovery,
            _ => return None,
        })
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked.
    Done,
    /// It did not; all that it held is free again or accounted for.
    Failed,
}

/// A row of the operation table.
#[derive(Clone, Debug)]
pub struct OperationRow {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// Its state: JSON of the state type that belongs to the kind.
    pub state: String,
    /// The next step is not taken before this time, unix milliseconds; `None` means at once.
    pub wake_at: Option<i64>,
    /// How many tries of the present step failed.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
}
