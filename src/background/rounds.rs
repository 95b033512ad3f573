//! Follows the server's rounds, and refreshes in them the VTXOs that are due.

use std::sync::Arc;

use super::failures::FailureLog;
use super::stream::{POLL_INTERVAL, keep_following};
use crate::wallet::{Result, Wallet};

/// Follows the stream of round events, and polls at intervals in case the stream leaves events out.
pub(super) async fn follow(wallet: Arc<Wallet>) {
    keep_following(&wallet, "round events", stream).await;
}

/// Follows the stream until it ends. Asks for the newest event once at the beginning and then at each interval.
async fn stream(wallet: Arc<Wallet>) -> Result<()> {
    let events = Box::pin(wallet.open_rounds().await?);
    let polls = async {
        loop {
            wallet.ask_for_rounds().await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        streamed = wallet.follow_rounds(events) => streamed,
        polled = polls => polled,
    }
}

/// Refreshes the VTXOs that are due whenever a round begins.
pub(super) async fn maintain(wallet: Arc<Wallet>) {
    let mut log = FailureLog::new("refresh of due VTXOs");
    let mut seen = None;
    loop {
        wallet.wait_for_round_start(&mut seen).await;
        log.record(wallet.auto_refresh().await);
    }
}
