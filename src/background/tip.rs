//! Follows the chain.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use tokio::sync::watch;

use super::{Failing, back_off};
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
    let mut failures = 0;
    loop {
        tips.mark_unchanged();
        let rates = fees.note("fee rates cannot be had", wallet.refresh_fee_rates().await);
        let judged = quarantine.note(
            "received VTXOs cannot be judged",
            wallet.review_quarantine().await,
        );
        failures = count(failures, rates.is_some() && judged.is_some());
        next(&wallet, &mut tips, failures).await;
    }
}

/// The on-chain wallet, by itself: the first scan of a long chain takes hours, and nothing else should wait for it.
pub(super) async fn sync_onchain(wallet: Arc<Wallet>) {
    let mut tips = wallet.subscribe_tips();
    let mut failing = Failing::default();
    let mut failures = 0;
    loop {
        tips.mark_unchanged();
        let synced = failing.note(
            "the on-chain wallet cannot be synced",
            wallet.sync_onchain().await,
        );
        failures = count(failures, synced.is_some());
        next(&wallet, &mut tips, failures).await;
    }
}

fn count(failures: u32, succeeded: bool) -> u32 {
    if succeeded {
        0
    } else {
        failures.saturating_add(1)
    }
}

/// Waits for the next block, for a chain that was away to be back, or for the interval; not as long after a failure.
async fn next(wallet: &Wallet, tips: &mut watch::Receiver<Option<Tip>>, failures: u32) {
    let interval = wallet.sync_interval();
    let pause = match failures {
        0 => interval,
        _ => back_off(failures).min(interval),
    };
    tokio::select! {
        _ = tips.changed() => {}
        () = wallet.chain_return() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
