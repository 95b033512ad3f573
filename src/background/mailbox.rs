//! Receives from the mailbox: follows its stream, and reads it at intervals in case the stream leaves messages out.

use std::sync::Arc;

use super::stream::{POLL_INTERVAL, keep_following};
use crate::wallet::{Result, Wallet};

pub(super) async fn run(wallet: Arc<Wallet>) {
    keep_following(&wallet, "mailbox", follow).await;
}

/// Follows the stream until it ends. Reads the mailbox once at the beginning and then at each interval.
async fn follow(wallet: Arc<Wallet>) -> Result<()> {
    let messages = Box::pin(wallet.open_mailbox().await?);
    let polls = async {
        loop {
            wallet.sync_mailbox().await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        streamed = wallet.follow_mailbox(messages) => streamed,
        polled = polls => polled,
    }
}
