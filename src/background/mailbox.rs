//! Receives from the mailbox: reads it when its stream reports a message, and at intervals.

use std::sync::Arc;

use super::stream::{keep_following, keep_polling};
use crate::wallet::{Result, Wallet};

/// Follows the stream of the mailbox.
pub(super) async fn follow(wallet: Arc<Wallet>) {
    keep_following(&wallet, "stream of the mailbox", stream).await;
}

/// Reads the mailbox at intervals.
pub(super) async fn poll(wallet: Arc<Wallet>) {
    keep_polling(
        &wallet,
        "poll of the mailbox",
        async |wallet: Arc<Wallet>| wallet.sync_mailbox().await.map(drop),
    )
    .await;
}

async fn stream(wallet: Arc<Wallet>) -> Result<()> {
    let messages = Box::pin(wallet.open_mailbox().await?);
    wallet.follow_mailbox(messages).await
}
