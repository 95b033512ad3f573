//! Follows the chain.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use tokio::sync::watch;

use super::Failing;
use crate::wallet::{Tip, Wallet};

/// Asks for the tip again and again; whoever follows the tip is told by the asking.
pub(super) async fn watch(wallet: Arc<Wallet>) {
    let pause = match wallet.network() {
        Network::Regtest => Duration::from_secs(1),
        _ => Duration::from_secs(15),
    };
    let mut failing = Failing::default();
    loop {
        failing.note("the chain backend does not answer", wallet.tip().await);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wallet.block_hint() => {}
        }
    }
}

/// What has to be looked at when there is a new block, and from time to time without one.
pub(super) async fn on_blocks(wallet: Arc<Wallet>) {
    let mut tips = wallet.subscribe_tips();
    let (mut fees, mut quarantine) = (Failing::default(), Failing::default());
    loop {
        tips.mark_unchanged();
        fees.note("fee rates cannot be had", wallet.refresh_fee_rates().await);
        quarantine.note(
            "received VTXOs cannot be judged",
            wallet.review_quarantine().await,
        );
        next(&mut tips, wallet.sync_interval()).await;
    }
}

/// The on-chain wallet, by itself: the first scan of a long chain takes hours, and nothing else should wait for it.
pub(super) async fn sync_onchain(wallet: Arc<Wallet>) {
    let mut tips = wallet.subscribe_tips();
    let mut failing = Failing::default();
    loop {
        tips.mark_unchanged();
        failing.note(
            "the on-chain wallet cannot be synced",
            wallet.sync_onchain().await,
        );
        next(&mut tips, wallet.sync_interval()).await;
    }
}

/// Waits for the next block, or for the interval without one.
async fn next(tips: &mut watch::Receiver<Option<Tip>>, interval: Duration) {
    tokio::select! {
        _ = tips.changed() => {}
        () = tokio::time::sleep(interval) => {}
    }
}
