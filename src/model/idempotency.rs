//! Requests that carry an idempotency key: which request a key belongs to, what it began, and its answer (docs/protocol.md §23.0.1).

use ark_lib::VtxoId;
use bitcoin::Txid;
use serde::{Deserialize, Serialize};

use super::OperationId;

/// The idempotency key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The key as the client chose it.
    pub key: String,
    /// SHA-256 of the method, the path and the body.
    pub request: [u8; 32],
}

/// What a request began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// An operation, whose end is the answer.
    Operation(OperationId),
    /// Exits.
    Exits {
        /// The VTXOs that are exited, each with its operation.
        started: Vec<(VtxoId, OperationId)>,
        /// The VTXOs that are not, each with the reason.
        skipped: Vec<(VtxoId, String)>,
    },
    /// A payment from the on-chain wallet.
    OnchainPayment(Txid),
    /// A claim of exits.
    Claim {
        /// The transaction.
        txid: Txid,
        /// What the address gets, in sat.
        amount: u64,
        /// What the miners get, in sat.
        fee: u64,
        /// The exits that it claims.
        exits: Vec<OperationId>,
    },
    /// An invoice.
    Invoice {
        /// The invoice.
        bolt11: String,
        /// The operation that will claim its payment.
        receive: OperationId,
    },
}

impl Effect {
    /// The operation whose end is the answer, if there is one.
    pub fn operation(&self) -> Option<&OperationId> {
        match self {
            Effect::Operation(operation) => Some(operation),
            _ => None,
        }
    }

    /// The operation that will claim the payment of an invoice, if it is one.
    pub fn receive(&self) -> Option<&OperationId> {
        match self {
            Effect::Invoice { receive, .. } => Some(receive),
            _ => None,
        }
    }

    /// The operations that have a movement now.
    pub fn moving(&self) -> Vec<&OperationId> {
        match self {
            Effect::Operation(operation) => vec![operation],
            Effect::Exits { started, .. } => {
                started.iter().map(|(_, operation)| operation).collect()
            }
            Effect::Claim { exits, .. } => exits.iter().collect(),
            Effect::OnchainPayment(_) | Effect::Invoice { .. } => Vec::new(),
        }
    }
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub struct KeptRequest {
    /// The request that it belongs to, as in [`RequestKey`].
    pub request: [u8; 32],
    /// What the request began; `None` if it succeeded without.
    pub effect: Option<Effect>,
    /// Why the operation failed that it began; JSON of the wallet's own type.
    pub failure: Option<String>,
    /// Its answer, if it was kept.
    pub answer: Option<KeptAnswer>,
}
