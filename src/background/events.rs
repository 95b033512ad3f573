//! Keeps the list of events as short as the settings say.

use std::sync::Arc;
use std::time::Duration;

use super::failures::FailureLog;
use crate::wallet::{EventId, Wallet};

/// How often old events are deleted.
const INTERVAL: Duration = Duration::from_secs(3600);
/// New events after which old ones are deleted sooner.
const BATCH: u64 = 500;
/// The pause between two deletions.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn prune(wallet: Arc<Wallet>) {
    let mut newest = wallet.newest_event();
    let mut log = FailureLog::new("deletion of old events");
    loop {
        let due = EventId(newest.borrow_and_update().0 + BATCH);
        while log.record(wallet.prune_events().await) == Some(true) {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::select! {
            _ = newest.wait_for(|newest| *newest >= due) => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
