//! The safety net of Lightning receives: while invoices are open, the server is asked whether they are paid.

use std::sync::Arc;
use std::time::Duration;

use super::failures::FailureLog;
use crate::wallet::Wallet;

/// How often the open invoices are looked at. Each has a pause of its own, which is longer the older it is.
const INTERVAL: Duration = Duration::from_secs(1);

/// Polls while an invoice is open, and sleeps otherwise.
pub(super) async fn poll(wallet: Arc<Wallet>) {
    let mut log = FailureLog::new("poll of the invoices");
    loop {
        let polled = log.record(wallet.poll_invoices().await);
        if polled == Some(false) {
            wallet.next_invoice().await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
