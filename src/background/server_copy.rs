//! Keeps the server's copy of the wallet complete: the chains of its VTXOs, and their ids in the recovery mailbox.

use std::sync::Arc;

use super::failures::FailureLog;
use crate::wallet::Wallet;

pub(super) async fn run(wallet: Arc<Wallet>) {
    let mut log = FailureLog::new("upload of the server's copy");
    loop {
        if wallet.is_connected() {
            log.record(wallet.catch_up().await);
        }
        tokio::select! {
            () = wallet.vtxos_arrived() => {}
            () = wallet.next_connection() => {}
            () = tokio::time::sleep(wallet.sync_interval()) => {}
        }
    }
}
