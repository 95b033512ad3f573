//! Follows the server's rounds: its stream of events, and a look from time to time in case the stream lies.

use std::sync::Arc;

use super::Failing;
use super::stream::{POLL, keep_following};
use crate::wallet::{Result, Wallet};

pub(super) async fn follow(wallet: Arc<Wallet>) {
    keep_following(&wallet, "rounds cannot be followed", stream).await;
}

/// Follows the stream until it ends; asks at first and from time to time.
async fn stream(wallet: Arc<Wallet>) -> Result<()> {
    let events = Box::pin(wallet.open_rounds().await?);
    let polls = async {
        loop {
            wallet.ask_for_rounds().await?;
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        streamed = wallet.follow_rounds(events) => streamed,
        polled = polls => polled,
    }
}

/// Refreshes what is due whenever a round begins.
pub(super) async fn maintain(wallet: Arc<Wallet>) {
    let mut failing = Failing::default();
    let mut seen = None;
    loop {
        wallet.wait_for_round_start(&mut seen).await;
        failing.note("due VTXOs cannot be refreshed", wallet.auto_refresh().await);
    }
}
