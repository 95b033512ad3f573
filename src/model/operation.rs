//! Operations: what moves money and is not finished by a single write.

use std::fmt;

use bitcoin::hex::DisplayHex;
use serde::{Deserialize, Serialize};

/// The name of an operation, unique for ever; the API shows it as `action_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperationId(String);

impl OperationId {
    /// A name that nothing else has.
    pub fn random() -> OperationId {
        OperationId(rand::random::<[u8; 16]>().to_lower_hex_string())
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
    /// Puts on-chain coins into the Ark.
    Board,
    /// Pays another wallet of the same Ark.
    ArkoorSend,
    /// Swaps VTXOs for new ones in a round.
    Round,
    /// Pays on chain out of VTXOs.
    Offboard,
}

impl OperationKind {
    /// The kind as the table names it.
    pub fn name(self) -> &'static str {
        match self {
            OperationKind::Board => "board",
            OperationKind::ArkoorSend => "arkoor_send",
            OperationKind::Round => "round",
            OperationKind::Offboard => "offboard",
        }
    }

    /// The kind with this name, `None` when there is no such kind.
    pub fn from_name(name: &str) -> Option<OperationKind> {
        Some(match name {
            "board" => OperationKind::Board,
            "arkoor_send" => OperationKind::ArkoorSend,
            "round" => OperationKind::Round,
            "offboard" => OperationKind::Offboard,
            _ => return None,
        })
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked.
    Done,
    /// It did not, and what it held is free again or accounted for.
    Failed,
}

/// A row of the operation table.
#[derive(Clone, Debug)]
pub struct OperationRow {
    /// Its name.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is: JSON of the kind's own state type.
    pub state: String,
    /// Not before this moment, unix milliseconds; `None` = at once.
    pub wake_at: Option<i64>,
    /// Tries of the present step that came to nothing.
    pub attempts: u32,
    /// Why the last of them did.
    pub last_error: Option<String>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
}
