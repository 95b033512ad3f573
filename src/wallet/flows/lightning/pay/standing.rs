//! How a payment stands, by the mailbox and by the server's answer.

use ark_lib::lightning::Preimage;

use super::{Order, facts};
use crate::ark::PaymentStatus;
use crate::model::OperationId;
use crate::store::lightning_send;
use crate::wallet::{Result, Wallet};

/// How a payment stands.
pub(super) enum Standing {
    /// The server knows nothing of it.
    Unknown,
    /// It is under way, or the server does not prove that it succeeded.
    Pending,
    /// It succeeded; the preimage fits the hash.
    Paid(Preimage),
    /// It failed, for this reason.
    Failed(String),
}

/// The preimage of the payment, if it came with the mailbox.
pub(super) async fn known_preimage(wallet: &Wallet, order: &Order) -> Result<Option<Preimage>> {
    let hash = order.hash();
    let row = wallet
        .store
        .read(move |connection| lightning_send::get(connection, hash))
        .await?;
    Ok(row.and_then(|row| row.preimage))
}

/// Asks how the payment stands. A preimage counts only if it fits the hash.
///
/// # Errors
/// `server_unavailable`; the database's.
pub(super) async fn standing(wallet: &Wallet, id: &OperationId, order: &Order) -> Result<Standing> {
    if let Some(preimage) = known_preimage(wallet, order).await? {
        return Ok(Standing::Paid(preimage));
    }
    Ok(
        match wallet.server.lightning_payment_status(order.hash()).await? {
            PaymentStatus::Unknown => Standing::Unknown,
            PaymentStatus::Pending => Standing::Pending,
            PaymentStatus::Failed(reason) => Standing::Failed(reason.into()),
            PaymentStatus::Paid(preimage) if preimage.compute_payment_hash() == order.hash() => {
                Standing::Paid(preimage)
            }
            PaymentStatus::Paid(_) => {
                wallet.raise(facts::wrong_preimage(id)).await?;
                Standing::Pending
            }
        },
    )
}
