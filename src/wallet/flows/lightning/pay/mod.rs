//! Payments over Lightning: VTXOs become HTLCs, which the Ark server takes for the preimage of the invoice (docs/protocol.md §4.6).
//!
//! ```text
//!  start ─▶ Sign ─▶ Register ─▶ Initiate ─▶ Await ─▶ done
//!            │                   │   ▲       │  ▲
//!  failed ◀──┘                   ▼   └───────┘  │
//!    ▲                         Revoke ◀─────────┘
//!    └───────────── Return ◀─────┴──▶ done
//!  each state with HTLCs, once they are exited ─▶ done, with the server's preimage
//!                                              └▶ failed, when they are claimed
//! ```
//!
//! | state | remote call | what its commit writes |
//! |---|---|---|
//! | Sign | those of [`steps::arkoor`](crate::wallet::engine::steps::arkoor), up to the server's signatures | inputs spent, change spendable, HTLCs locked |
//! | Register | upload the signed chains of HTLCs and change | the server has them |
//! | Initiate | after the first try: how the payment stands; let the server pay | the payment is under way |
//! | Await | how the payment stands | with the preimage: HTLCs spent, the movement successful |
//! | Revoke | how the payment stands; request the signatures on the spend back to the wallet | HTLCs spent, what comes back spendable |
//! | Return | upload the signed chains of what came back | the movement failed |
//!
//! The payment hash is the operation's id, and each hash that was ever begun has a row with its preimage: nothing is paid twice
//! (H2). Only a preimage that fits the hash proves a payment. From the HTLCs on it settles the payment in every state, whether it comes
//! from the server's answer, the mailbox, the text of a refusal (H45, W6), or the server's claim of an exited HTLC. The HTLCs stay locked
//! until then, or until the server has signed their way back. HTLCs that are about to be lost are exited (H22): then the preimage in the
//! server's claim settles the payment, or the wallet's claim after their expiry ends it as failed.

mod endangered;
mod exited;
mod facts;
mod follow;
mod initiate;
mod outcome;
mod resolve;
mod revoke;
mod settle;
mod sign;
mod standing;
mod start;

use ark_lib::VtxoId;
use ark_lib::lightning::{Invoice, PaymentHash, Preimage};
use bitcoin::Amount;
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::store::{WriteTx, lightning_send};
use crate::wallet::engine::steps::arkoor::Signing;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Result, Wallet};

pub(in crate::wallet) use endangered::endangered;
pub use outcome::{Payment, PaymentOutcome, PaymentState};
pub use start::PaymentTerms;

pub(in crate::wallet) use resolve::Payable;

/// How far a payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum LightningSend {
    /// The HTLCs have to be signed.
    Sign {
        /// What is paid.
        order: Order,
        /// The spend to the HTLCs.
        signing: Signing,
    },
    /// Signed; the server may lack the new signed chains.
    Register {
        /// What pays.
        htlcs: Htlcs,
        /// The change.
        change: Vec<VtxoId>,
    },
    /// The server has to pay.
    Initiate {
        /// What pays.
        htlcs: Htlcs,
        /// How often the server took the order before, and then knew nothing of it.
        lost: u32,
    },
    /// The server pays.
    Await {
        /// What pays.
        htlcs: Htlcs,
        /// As in [`LightningSend::Initiate`].
        lost: u32,
        /// When the server took the order, unix milliseconds.
        since: i64,
    },
    /// The payment failed, or its time is over; the HTLCs have to come back.
    Revoke {
        /// What has to come back.
        htlcs: Htlcs,
        /// Why the payment failed.
        reason: String,
    },
    /// The HTLCs came back; the server may lack the signed chains.
    Return {
        /// What came back.
        returned: Vec<VtxoId>,
        /// Why the payment failed.
        reason: String,
    },
}

/// What is paid, and by when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Order {
    /// The invoice.
    invoice: Invoice,
    /// What the payee gets.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    amount: Amount,
    /// How long the server tries, in seconds; the server's default if `None`.
    retry_for: Option<u32>,
    /// The height after which the HTLCs come back.
    expiry: BlockHeight,
    /// Index of the key of the HTLCs, and of the change.
    htlc_key: u32,
    /// Index of the key that the HTLCs come back to.
    revocation_key: u32,
}

/// The signed HTLCs of a payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Htlcs {
    order: Order,
    ids: Vec<VtxoId>,
}

impl Order {
    fn hash(&self) -> PaymentHash {
        self.invoice.payment_hash()
    }
}

impl Flow for LightningSend {
    const KIND: OperationKind = OperationKind::LightningSend;

    async fn step(
        self,
        wallet: &Wallet,
        id: &OperationId,
        tries: Tries,
    ) -> Result<Step<LightningSend>> {
        if let Some(htlcs) = self.htlcs()
            && let Some(step) = exited::go_on(wallet, id, htlcs).await?
        {
            return Ok(step);
        }
        match self {
            LightningSend::Sign { order, signing } => {
                sign::sign(wallet, id, order, signing, tries).await
            }
            LightningSend::Register { htlcs, change } => {
                initiate::register(wallet, htlcs, change, tries).await
            }
            LightningSend::Initiate { htlcs, lost } => {
                initiate::initiate(wallet, id, htlcs, lost, tries).await
            }
            LightningSend::Await { htlcs, lost, since } => {
                follow::follow(wallet, id, htlcs, lost, since).await
            }
            LightningSend::Revoke { htlcs, reason } => {
                revoke::revoke(wallet, id, htlcs, reason, tries).await
            }
            LightningSend::Return { returned, reason } => {
                revoke::register_returned(wallet, id, returned, reason, tries).await
            }
        }
    }

    /// A caller gets the answer when the server pays.
    fn answers_caller(&self) -> bool {
        matches!(self, LightningSend::Await { .. })
    }
}

impl LightningSend {
    /// The spend to the HTLCs, while it is not signed.
    pub(in crate::wallet) fn signing(&self) -> Option<&Signing> {
        match self {
            LightningSend::Sign { signing, .. } => Some(signing),
            _ => None,
        }
    }

    /// What pays, while it is not decided.
    fn htlcs(&self) -> Option<&Htlcs> {
        match self {
            LightningSend::Register { htlcs, .. }
            | LightningSend::Initiate { htlcs, .. }
            | LightningSend::Await { htlcs, .. }
            | LightningSend::Revoke { htlcs, .. } => Some(htlcs),
            LightningSend::Sign { .. } | LightningSend::Return { .. } => None,
        }
    }
}

/// Stores the preimage of a payment, which proves that it succeeded; the payment's own step reads it. A preimage that does not fit the
/// hash, or is of no payment of this wallet, is ignored.
pub(in crate::wallet) fn note_preimage(
    tx: &WriteTx<'_>,
    hash: PaymentHash,
    preimage: Preimage,
) -> Result<()> {
    if preimage.compute_payment_hash() != hash {
        tracing::warn!(payment_hash = %hash, "the mailbox has a preimage that does not fit its payment hash; ignored");
    } else if !lightning_send::set_preimage(tx, hash, preimage)? {
        tracing::debug!(payment_hash = %hash, "the mailbox has the preimage of a payment that this wallet did not make");
    }
    Ok(())
}
