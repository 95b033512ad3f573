//! Facts that wait for a decision of the operator.

use serde::{Deserialize, Serialize};

/// A fact that waits for a decision of the operator. The wallet does nothing about it by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// What kind of fact, a stable `snake_case` word for programs.
    pub code: String,
    /// The id of the operation, VTXO or round that it is about; empty for the wallet as a whole.
    pub subject: String,
    /// What happened.
    pub message: String,
    /// What the operator can do.
    pub what_to_do: String,
}
