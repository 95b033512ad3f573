//! Invoices that are withdrawn before they are paid.

use std::sync::Arc;

use ark_lib::lightning::PaymentHash;

use crate::ark::ReceiveStatus;
use crate::model::InvoiceOutcome;
use crate::store::lightning_receive;
use crate::wallet::engine::clock;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

impl Wallet {
    /// Cancels an invoice that is not paid: no payment of it is accepted any more. To cancel it again changes nothing. `identifier` is as
    /// in [`receive_info`](Wallet::receive_info).
    ///
    /// # Errors
    /// `invalid_identifier`, `unknown_receive`; `receive_in_progress` if a payment has arrived; `receive_ended`.
    pub async fn cancel_invoice(self: &Arc<Wallet>, identifier: &str) -> Result<()> {
        let hash = self.find_invoice(identifier).await?.hash;
        // The server's node knows of a payment before the wallet does. An unreachable server can be left out: without the
        // wallet it gives each payment back.
        let status = self.server.check_lightning_receive(hash).await;
        if let Ok(ReceiveStatus::Accepted | ReceiveStatus::HtlcsReady | ReceiveStatus::Settled(_)) =
            status
        {
            self.claim_paid_invoice(hash).await?;
        }
        self.commit(CommitPoint::LightningReceiveCanceled, move |tx| {
            let invoice = lightning_receive::get(tx, hash)?;
            let invoice = invoice
                .ok_or_else(|| Error::internal(anyhow::anyhow!("the invoice is gone")))?;
            match invoice.end {
                Some(end) if end.outcome == InvoiceOutcome::Canceled => return Ok(()),
                Some(end) => {
                    let message = format!("this invoice is {} already", end.outcome.name());
                    return Err(Error::conflict("receive_ended", message));
                }
                None if invoice.accepted_at.is_some() => {
                    let message = "a payment of this invoice has arrived and is being claimed; it cannot be canceled any more";
                    return Err(Error::conflict("receive_in_progress", message));
                }
                None => {}
            }
            let now = clock::now_millis();
            lightning_receive::end(tx, hash, InvoiceOutcome::Canceled, None, now)?;
            Ok(())
        })
        .await?;
        self.cancel_at_server(hash).await;
        Ok(())
    }

    /// Tells the server that an invoice is withdrawn, unless it is paid: to cancel a payment that another wallet of the same
    /// server makes locks that wallet's coins until they expire, while the server gives back what nobody claims within minutes.
    pub(super) async fn cancel_at_server(&self, hash: PaymentHash) {
        if !self.is_connected() {
            return;
        }
        let canceled = match self.server.check_lightning_receive(hash).await {
            Ok(ReceiveStatus::Created) => self.server.cancel_lightning_receive(hash).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = canceled {
            tracing::warn!(payment_hash = %hash, %error, "the Ark server did not cancel an invoice; it gives a payment back after a few minutes");
        }
    }
}
