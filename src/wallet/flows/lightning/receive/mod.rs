//! Lightning receives: the wallet is paid over an invoice of the Ark server's node (docs/protocol.md §4.7).
//!
//! ```text
//!  invoice ─▶ (paid) ─▶ Prepare ─▶ Claim ─▶ Register ─▶ done
//!     │                    │         │
//!     │                    │         ├────▶ Deliver ─▶ done      (what is paid goes to an Ark address)
//!     │                    │         ├────▶ done                 (the HTLCs were exited and claimed on chain)
//!     ▼                    ▼         ▼
//!  canceled, expired     failed    failed, if it is too late to reveal the preimage
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | Prepare | request HTLC VTXOs, which are validated | the HTLCs locked, the movement; from then on the server may have the preimage |
//! | Claim | reveal the preimage for the server's signatures | HTLCs spent, what they became |
//! | Register | upload the new chains | VTXOs spendable, the movement successful |
//! | Deliver | upload the new chains, post the VTXOs to the payee's mailbox | the movement successful |
//!
//! An invoice is a row of its own, written before the invoice leaves the process (H8). It becomes an operation when the server holds
//! the payer's HTLCs. Until the preimage is revealed, the receive can end at any time: the payer gets the money back. From then on it never
//! ends but with the money: the server keeps the preimage even if it refuses the claim, so a refusal proves nothing (H38, W4). While there
//! is just enough time for a claim on chain, the HTLCs are exited (H22), and the preimage claims them there. A daemon that comes back after the HTLCs were granted and before the preimage went out looks at the time again (H9).

mod cancel;
mod claim;
mod create;
mod endangered;
mod exited;
mod finish;
mod grant;
mod info;
mod notice;
mod prepare;

use ark_lib::VtxoId;
use ark_lib::lightning::PaymentHash;
use serde::{Deserialize, Serialize};

use crate::model::{Invoice, OperationId, OperationKind};
use crate::store::lightning_receive;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Error, Result, Wallet};

pub use create::InvoiceRequest;
pub(in crate::wallet) use endangered::endangered;
pub use info::ReceiveInfo;
pub(in crate::wallet) use notice::{InvoicePoll, accept};

/// How far the claim of a payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum LightningReceive {
    /// The server holds the payment, and has to grant HTLC VTXOs.
    Prepare {
        /// The payment hash.
        hash: PaymentHash,
    },
    /// The server may have the preimage, and has to sign the spend of the HTLC VTXOs.
    Claim {
        /// The payment hash.
        hash: PaymentHash,
        /// In ascending order; the server accepts no other.
        htlcs: Vec<VtxoId>,
    },
    /// Claimed; the server may lack the signed chains of the wallet's new VTXOs.
    Register {
        /// The payment hash.
        hash: PaymentHash,
        /// The new VTXOs.
        outputs: Vec<VtxoId>,
    },
    /// Claimed to an Ark address, whose owner has to get the VTXOs. Their bodies are in the store.
    Deliver {
        /// The payment hash.
        hash: PaymentHash,
        /// The payee's VTXOs.
        outputs: Vec<VtxoId>,
    },
}

impl Flow for LightningReceive {
    const KIND: OperationKind = OperationKind::LightningReceive;

    async fn step(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
    ) -> Result<Step<LightningReceive>> {
        match self {
            LightningReceive::Prepare { hash } => prepare::prepare(wallet, id, hash).await,
            LightningReceive::Claim { hash, htlcs } => {
                if let Some(step) = exited::go_on(wallet, id, hash, &htlcs).await? {
                    return Ok(step);
                }
                claim::claim(wallet, id, hash, htlcs, tries).await
            }
            LightningReceive::Register { hash, outputs } => {
                finish::register(wallet, id, hash, outputs).await
            }
            LightningReceive::Deliver { hash, outputs } => {
                finish::deliver(wallet, id, hash, outputs).await
            }
        }
    }

    fn answers_caller(&self) -> bool {
        false
    }
}

impl Wallet {
    /// The invoice of an operation.
    async fn invoice(&self, hash: PaymentHash) -> Result<Invoice> {
        let found = self
            .store
            .read(move |connection| lightning_receive::get(connection, hash))
            .await?;
        found.ok_or_else(|| Error::internal(anyhow::anyhow!("there is no invoice {hash}")))
    }
}
