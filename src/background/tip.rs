//! Follows the chain: polls for the tip, and does what a new block calls for.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use tokio::sync::watch;

use super::failures::{FailureLog, back_off};
use crate::wallet::{Tip, Wallet};

/// Polls the chain backend for the tip. The wallet publishes each new tip to its subscribers.
pub(super) async fn poll(wallet: Arc<Wallet>) {
    let interval = match wallet.network() {
        Network::Regtest => Duration::from_secs(1),
        _ => Duration::from_secs(15),
    };
    let mut log = FailureLog::new("request for the chain tip");
    let mut events = FailureLog::new("event of the chain backend's answers");
    let mut told = None;
    loop {
        let answers = log.record(wallet.tip().await).is_some();
        if told != Some(answers) {
            let event = events.record(wallet.tell_chain(answers).await);
            told = event.map(|()| answers);
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = wallet.next_block_notification() => {}
        }
    }
}

/// Tells of VTXOs that expire soon, refreshes the fee rates, reviews the quarantine, and compares the VTXOs with the chain at each block, and at intervals without one.
pub(super) async fn on_blocks(wallet: Arc<Wallet>) {
    let mut tips = wallet.subscribe_tips();
    let mut expiring = FailureLog::new("event of expiring VTXOs");
    let mut fees = FailureLog::new("request for fee rates");
    let mut quarantine = FailureLog::new("review of quarantined VTXOs");
    let mut watch = FailureLog::new("watch on what the VTXOs hang from");
    let mut failures = 0;
    loop {
        tips.mark_unchanged();
        expiring.record(wallet.tell_of_expiring_vtxos().await);
        let rates = fees.record(wallet.refresh_fee_rates().await);
        let reviewed = quarantine.record(wallet.review_quarantine().await);
        let watched = watch.record(wallet.watch_chain().await);
        let succeeded = rates.is_some() && reviewed.is_some() && watched.is_some();
        failures = next_count(failures, succeeded);
        next_run(&wallet, &mut tips, failures).await;
    }
}

/// Syncs the on-chain wallet at each block, and at intervals without one, and then serves the exits, which need its coins. It has a loop of its own, because the first scan of
/// a long chain takes hours and nothing else should wait for it.
pub(super) async fn sync_onchain(wallet: Arc<Wallet>) {
    let mut tips = wallet.subscribe_tips();
    let mut log = FailureLog::new("sync of the on-chain wallet");
    let mut exits = FailureLog::new("service of exits");
    let mut failures = 0;
    loop {
        tips.mark_unchanged();
        let synced = log.record(wallet.sync_onchain().await);
        let succeeded = match synced {
            Some(()) => exits.record(wallet.serve_exits().await).is_some(),
            None => false,
        };
        failures = next_count(failures, succeeded);
        next_run(&wallet, &mut tips, failures).await;
    }
}

fn next_count(failures: u32, succeeded: bool) -> u32 {
    if succeeded {
        0
    } else {
        failures.saturating_add(1)
    }
}

/// Waits for the next block, for the chain backend to recover, or for the sync interval, which is shortened after failures.
async fn next_run(wallet: &Wallet, tips: &mut watch::Receiver<Option<Tip>>, failures: u32) {
    let interval = wallet.sync_interval();
    let pause = match failures {
        0 => interval,
        _ => back_off(failures).min(interval),
    };
    tokio::select! {
        _ = tips.changed() => {}
        () = wallet.next_chain_recovery() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
