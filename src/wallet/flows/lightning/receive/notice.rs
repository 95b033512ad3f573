//! How the wallet learns that an invoice is paid: the server's message in the mailbox, and a poll as the safety net.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ark_lib::lightning::PaymentHash;
use futures::{StreamExt, stream};
use lightning_invoice::Bolt11Invoice;
use tokio::sync::Notify;

use super::LightningReceive;
use crate::ark::ReceiveStatus;
use crate::model::{InvoiceOutcome, OperationId};
use crate::store::WriteTx;
use crate::store::lightning_receive::{self, OpenInvoice};
use crate::wallet::engine::{self, clock};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Invoices that are asked about at the same time.
const REQUESTS: usize = 16;
/// Pauses between two requests about one invoice. The server holds a payment for three minutes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// The pause is the age of the invoice divided by this.
const AGE_PER_PAUSE: u32 = 30;

/// When the server was last asked about each open invoice.
#[derive(Default)]
pub(in crate::wallet) struct InvoicePoll {
    asked: Mutex<HashMap<PaymentHash, Instant>>,
    made: Notify,
}

impl InvoicePoll {
    /// Starts the poll again.
    pub(super) fn wake(&self) {
        self.made.notify_one();
    }

    /// Those of these invoices that are due, which count as asked about from now on. Forgets all that are not among them.
    fn take_due(&self, open: &[OpenInvoice], now: i64) -> Vec<PaymentHash> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut remembered = HashMap::with_capacity(open.len());
        let mut due = Vec::new();
        for invoice in open {
            let last = asked.remove(&invoice.hash);
            let is_due = last.is_none_or(|at| at.elapsed() >= pause(now - invoice.created_at));
            if is_due {
                due.push(invoice.hash);
            }
            let last = last.filter(|_| !is_due).unwrap_or_else(Instant::now);
            remembered.insert(invoice.hash, last);
        }
        *asked = remembered;
        due
    }
}

/// The pause between two requests about an invoice of this age in milliseconds.
fn pause(age: i64) -> Duration {
    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
    (age / AGE_PER_PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Writes the operation that claims the payment of one of our invoices, unless it was written before. Returns its id; the caller has
/// to [take it up](Wallet::take_up) when that is durable.
pub(in crate::wallet) fn accept(
    tx: &WriteTx<'_>,
    hash: PaymentHash,
) -> Result<Option<OperationId>> {
    let Some(invoice) = lightning_receive::get(tx, hash)? else {
        tracing::info!(payment_hash = %hash, "ignored a payment of an invoice that the wallet does not have");
        return Ok(None);
    };
    let now = clock::now_millis();
    let id = OperationId::lightning_receive(hash);
    if invoice.end.is_some() {
        return Ok(None);
    }
    if invoice.accepted_at.is_some() {
        return Ok(Some(id));
    }
    if now >= invoice.expires_at {
        tracing::info!(payment_hash = %hash, "ignored a payment of an expired invoice; the payer gets it back");
        return Ok(None);
    }
    engine::enlist(tx, &id, &LightningReceive::Prepare { hash })?;
    lightning_receive::accept(tx, hash, now)?;
    Ok(Some(id))
}

impl Wallet {
    /// Asks the server about the open invoices that are due, and ends those that have expired. Returns whether any is open. What fails
    /// for one invoice is logged, and does not keep the others back (W27).
    ///
    /// # Errors
    /// Only the database's.
    pub async fn poll_invoices(self: &Arc<Wallet>) -> Result<bool> {
        let open = self.open_invoices().await?;
        if self.is_connected() {
            let due = self.invoice_poll.take_due(&open, clock::now_millis());
            self.ask_about_all(due).await;
        }
        Ok(!open.is_empty())
    }

    /// Asks the server about all open invoices at once, as [`poll_invoices`](Wallet::poll_invoices) does about some.
    ///
    /// # Errors
    /// Only the database's.
    pub(in crate::wallet) async fn check_invoices(self: &Arc<Wallet>) -> Result<()> {
        let open = self.open_invoices().await?;
        self.ask_about_all(open.iter().map(|it| it.hash).collect())
            .await;
        Ok(())
    }

    /// Ends the invoices that have expired, and returns those that are open.
    async fn open_invoices(&self) -> Result<Vec<OpenInvoice>> {
        let open = self.store.read(lightning_receive::open).await?;
        let now = clock::now_millis();
        let (expired, open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|it| it.expires_at <= now);
        let ended = stream::iter(expired).map(|it| self.expire(it.hash));
        let ended: Vec<Result<()>> = ended.buffer_unordered(REQUESTS).collect().await;
        ended.into_iter().collect::<Result<()>>()?;
        Ok(open)
    }

    async fn ask_about_all(self: &Arc<Wallet>, hashes: Vec<PaymentHash>) {
        let asked = stream::iter(hashes).map(|hash| async move {
            if let Err(error) = self.ask_about(hash).await {
                tracing::warn!(payment_hash = %hash, %error, "cannot learn whether an invoice is paid; asking again");
            }
        });
        asked.buffer_unordered(REQUESTS).collect::<()>().await;
    }

    /// Resolves when an invoice was made since the last call.
    pub async fn next_invoice(&self) {
        self.invoice_poll.made.notified().await;
    }

    /// Asks the server about an invoice, and acts on the answer.
    async fn ask_about(self: &Arc<Wallet>, hash: PaymentHash) -> Result<()> {
        match self.server.check_lightning_receive(hash).await? {
            ReceiveStatus::Created => Ok(()),
            ReceiveStatus::Canceled => {
                let reason = "the Ark server has canceled it";
                self.end_open_invoice(hash, InvoiceOutcome::Failed, Some(reason))
                    .await
            }
            ReceiveStatus::Accepted | ReceiveStatus::HtlcsReady | ReceiveStatus::Settled(_) => {
                self.claim_paid_invoice(hash).await
            }
        }
    }

    /// Begins the claim of an invoice whose payment the server holds.
    pub(super) async fn claim_paid_invoice(self: &Arc<Wallet>, hash: PaymentHash) -> Result<()> {
        let begun = self
            .commit(CommitPoint::LightningReceiveNoticed, move |tx| {
                accept(tx, hash)
            })
            .await?;
        match begun {
            Some(id) => self.take_up(id).await,
            None => Ok(()),
        }
    }

    /// Ends an invoice that nobody has paid in time, also at the server if its own expiry is later.
    async fn expire(&self, hash: PaymentHash) -> Result<()> {
        self.end_open_invoice(hash, InvoiceOutcome::Expired, None)
            .await?;
        let invoice = Bolt11Invoice::from_str(&self.invoice(hash).await?.bolt11);
        if invoice.is_ok_and(|invoice| !invoice.is_expired()) {
            self.cancel_at_server(hash).await;
        }
        Ok(())
    }

    async fn end_open_invoice(
        &self,
        hash: PaymentHash,
        outcome: InvoiceOutcome,
        reason: Option<&'static str>,
    ) -> Result<()> {
        self.store
            .write(move |tx| -> Result<()> {
                // The message of a payment may have come in between.
                let invoice = lightning_receive::get(tx, hash)?;
                if invoice.is_some_and(|it| it.accepted_at.is_none()) {
                    lightning_receive::end(tx, hash, outcome, reason, clock::now_millis())?;
                }
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invoice_has_its_own_pause_which_grows_with_its_age() {
        assert_eq!(pause(-5), SHORTEST_PAUSE);
        assert_eq!(pause(10_000), SHORTEST_PAUSE);
        assert_eq!(pause(150_000), Duration::from_secs(5));
        assert_eq!(pause(i64::MAX), LONGEST_PAUSE);

        let poll = InvoicePoll::default();
        let open = |byte, created_at| OpenInvoice {
            hash: PaymentHash::from([byte; 32]),
            created_at,
            expires_at: i64::MAX,
        };
        let both = [open(1, 0), open(2, 0)];
        assert_eq!(poll.take_due(&both, 0).len(), 2);
        assert_eq!(poll.take_due(&both, 0), []);
        let third = [open(2, 0), open(3, 0)];
        assert_eq!(poll.take_due(&third, 0), [third[1].hash]);
        assert_eq!(
            poll.asked.lock().unwrap().len(),
            2,
            "the first is forgotten"
        );
    }
}
