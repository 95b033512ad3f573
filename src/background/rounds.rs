//! Follows the server's rounds, and refreshes in them the VTXOs that are due.

use std::sync::Arc;

use super::failures::FailureLog;
use super::stream::{keep_following, keep_polling};
use crate::wallet::{Result, Wallet};

/// Follows the stream of round events.
pub(super) async fn follow(wallet: Arc<Wallet>) {
    keep_following(&wallet, "stream of round events", stream).await;
}

/// Asks for the newest event at intervals, in case the stream leaves events out.
pub(super) async fn poll(wallet: Arc<Wallet>) {
    keep_polling(
        &wallet,
        "poll of round events",
        async |wallet: Arc<Wallet>| wallet.ask_for_rounds().await.map(drop),
    )
    .await;
}

/// Follows the stream until it ends. What came before it was open is asked for.
async fn stream(wallet: Arc<Wallet>) -> Result<()> {
    let events = Box::pin(wallet.open_rounds().await?);
    wallet.ask_for_rounds().await?;
    wallet.follow_rounds(events).await
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
