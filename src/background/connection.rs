//! Keeps the wallet connected to the Ark server.

use std::sync::Arc;
use std::time::Duration;

use super::failures::FailureLog;
use crate::wallet::Wallet;

/// How often the server's parameters are requested; also how soon a lost connection is opened again.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(super) async fn run(wallet: Arc<Wallet>) {
    let mut log = FailureLog::new("connection to the Ark server");
    let mut clock = FailureLog::new("report of the clock's skew");
    let mut is_skewed = None;
    let mut events = FailureLog::new("event of the server's connection");
    let mut told = None;
    loop {
        let was_connected = wallet.is_connected();
        let info = log.record(wallet.check_server().await);
        if let Some(info) = info.filter(|_| !was_connected) {
            tracing::info!(server = %info.server_pubkey, "connected to the Ark server");
        }
        let is_connected = wallet.is_connected();
        if told != Some(is_connected) {
            let event = events.record(wallet.tell_server(is_connected).await);
            told = event.map(|()| is_connected);
        }
        let skew = wallet.excessive_clock_skew();
        if is_skewed != Some(skew.is_some()) {
            let reported = clock.record(wallet.report_clock_skew(skew).await);
            is_skewed = reported.map(|()| skew.is_some());
        }
        tokio::select! {
            () = tokio::time::sleep(HEARTBEAT) => {}
            () = wallet.next_failed_call() => {}
        }
    }
}
