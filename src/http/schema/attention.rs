//! What waits for a decision of the operator.

use serde::Serialize;
use utoipa::ToSchema;

use crate::wallet;

/// A fact that waits for a decision of the operator.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Attention {
    /// What kind of fact, a stable word for programs.
    code: String,
    /// The id of the operation, VTXO or round that it is about; empty for the wallet as a whole, the fingerprint of one that is not
    /// loaded.
    subject: String,
    /// What happened.
    message: String,
    /// What the operator can do.
    what_to_do: String,
}

impl From<wallet::Attention> for Attention {
    fn from(fact: wallet::Attention) -> Self {
        Self {
            code: fact.code,
            subject: fact.subject,
            message: fact.message,
            what_to_do: fact.what_to_do,
        }
    }
}
