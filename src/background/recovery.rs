//! Follows a recovery, and looks once after each start whether this database is older than the wallet.

use std::sync::Arc;

use super::failures::{FailureLog, back_off};
use crate::wallet::Wallet;

pub(super) async fn run(wallet: Arc<Wallet>) {
    let mut log = FailureLog::new("recovery");
    let mut mailbox = FailureLog::new("mailbox after a recovery");
    let mut failures = 0_u32;
    loop {
        wallet.connected().await;
        let followed = log.record(wallet.follow_recovery().await);
        failures = if followed.is_some() { 0 } else { failures + 1 };
        // Until it is known whether there is a newer copy, payments can be refused by the server.
        let pause = match failures {
            0 => wallet.sync_interval(),
            failures => back_off(failures),
        };
        tokio::select! {
            () = wallet.recovery_advanced() => {
                mailbox.record(wallet.sync_mailbox().await);
            }
            () = wallet.next_connection() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
