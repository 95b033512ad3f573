//! Follows a recovery, and looks once after each start whether this database is older than the wallet.

use std::sync::Arc;

use super::failures::FailureLog;
use crate::wallet::Wallet;

pub(super) async fn run(wallet: Arc<Wallet>) {
    let mut log = FailureLog::new("recovery");
    let mut mailbox = FailureLog::new("mailbox after a recovery");
    loop {
        wallet.connected().await;
        log.record(wallet.follow_recovery().await);
        tokio::select! {
            () = wallet.recovery_advanced() => {
                mailbox.record(wallet.sync_mailbox().await);
            }
            () = wallet.next_connection() => {}
            () = tokio::time::sleep(wallet.sync_interval()) => {}
        }
    }
}
