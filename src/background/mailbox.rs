//! Receives: the mailbox's stream, and a read from time to time in case the stream lies.

use std::sync::Arc;

use super::stream::{POLL, keep_following};
use crate::wallet::{Result, Wallet};

pub(super) async fn run(wallet: Arc<Wallet>) {
    keep_following(&wallet, "the mailbox cannot be followed", follow).await;
}

/// Follows the stream until it ends; reads at first and from time to time.
async fn follow(wallet: Arc<Wallet>) -> Result<()> {
    let messages = Box::pin(wallet.open_mailbox().await?);
    let polls = async {
        loop {
            wallet.sync_mailbox().await?;
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        streamed = wallet.follow_mailbox(messages) => streamed,
        polled = polls => polled,
    }
}
