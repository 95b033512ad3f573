//! Payments: an Ark address is paid with an out-of-round spend (docs/protocol.md §4.2).
//!
//! ```text
//!  start ─▶ Sign ─▶ Deliver ─▶ done
//!            │
//!            └─▶ failed
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | Sign | those of [`steps::arkoor`](crate::wallet::engine::steps::arkoor), up to the server's signatures | inputs spent, change spendable, the payee's VTXOs |
//! | Deliver | upload the new chains, post the VTXOs to the payee's mailbox | the movement successful |

mod deliver;
mod sign;
mod start;

use ark_lib::{Address, VtxoId};
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Result, Wallet};

pub use start::{SendOutcome, SendRequest};

/// How far a payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum ArkoorSend {
    /// The spend has to be signed.
    Sign {
        destination: Address,
        signing: Signing,
    },
    /// Signed; the server may lack the new signed chains, and the payee has to get the VTXOs. Their bodies are in the store.
    Deliver {
        destination: Address,
        /// The payee's VTXOs.
        outgoing: Vec<VtxoId>,
        change: Vec<VtxoId>,
    },
}

impl ArkoorSend {
    /// The spend, while it is not signed.
    pub(in crate::wallet) fn signing(&self) -> Option<&Signing> {
        match self {
            ArkoorSend::Sign { signing, .. } => Some(signing),
            ArkoorSend::Deliver { .. } => None,
        }
    }
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
            ArkoorSend::Sign {
                destination,
                signing,
            } => sign::sign(wallet, id, destination, signing, tries).await,
            ArkoorSend::Deliver {
                destination,
                outgoing,
                change,
            } => deliver::deliver(wallet, id, &destination, outgoing, change).await,
        }
    }

    fn answers_caller(&self) -> bool {
        false
    }
}
