//! Payments: an Ark address is paid with an out-of-round spend (docs/protocol.md §4.2).
//!
//! ```text
//!  start ─▶ RegisterInputs ─▶ Cosign ─▶ Deliver ─▶ done
//!              │    ▲           │ ▲
//!              │    └────────┐  ▼ │
//!              └─▶ failed ◀─ Doubted
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | RegisterInputs | upload the signed chains of the inputs that the server may lack | the server has them |
//! | Cosign | request the server's signatures; from then on it counts the inputs as spent | inputs spent, change spendable, the payee's VTXOs |
//! | Doubted | ask the server for the state of an input | back to RegisterInputs or Cosign, or inputs released |
//! | Deliver | upload the new chains, post the VTXOs to the payee's mailbox | the movement successful |
//!
//! What makes the spend safe to retry stands in [`steps::arkoor`](crate::wallet::engine::steps::arkoor).

mod cosign;
mod deliver;
mod destination;
mod start;

use ark_lib::{Address, VtxoId};
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::wallet::engine::steps::arkoor::ArkoorSpend;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Result, Wallet};

pub use start::SendRequest;

/// How far a payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum ArkoorSend {
    /// The server may lack the inputs' signed chains.
    RegisterInputs(Payment),
    /// The server has to sign.
    Cosign(Payment),
    /// The server refused to sign, but an earlier request may have succeeded.
    Doubted {
        /// The payment that is in doubt.
        payment: Payment,
        /// The server's reason.
        refusal: String,
    },
    /// Signed; the server may lack the new signed chains, and the payee has to get the VTXOs.
    Deliver(SignedPayment),
}

/// A payment that is not signed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Payment {
    destination: Address,
    spend: ArkoorSpend,
}

/// A signed payment. The bodies of all its VTXOs are in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct SignedPayment {
    destination: Address,
    /// The payee's VTXOs.
    outgoing: Vec<VtxoId>,
    change: Vec<VtxoId>,
}

impl Flow for ArkoorSend {
    const KIND: OperationKind = OperationKind::ArkoorSend;

    async fn step(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
    ) -> Result<Step<ArkoorSend>> {
        match self {
            ArkoorSend::RegisterInputs(payment) => {
                cosign::register_inputs(wallet, id, payment, tries).await
            }
            ArkoorSend::Cosign(payment) => cosign::cosign(wallet, id, payment, tries).await,
            ArkoorSend::Doubted { payment, refusal } => {
                cosign::resolve_doubt(wallet, id, payment, refusal).await
            }
            ArkoorSend::Deliver(signed) => deliver::deliver(wallet, id, signed).await,
        }
    }

    fn answers_caller(&self) -> bool {
        false
    }
}
