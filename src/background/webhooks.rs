//! Delivers the events to the webhooks: one task for each, so that a receiver that is slow or away delays no other.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::failures::{FailureLog, back_off};
use super::restart_after_panic;
use crate::wallet::{Event, NextDelivery, Wallet, WebhookId};

/// Makes the JSON of an event.
pub type Render = fn(&Event) -> &str;

/// Starts a task for each webhook that a person creates. It ends when the webhook is deleted.
pub(super) async fn run(wallet: Arc<Wallet>, render: Render) {
    let mut log = FailureLog::new("list of the webhooks");
    let mut changes = wallet.webhook_changes();
    let mut tasks = JoinSet::new();
    let (mut known, mut failures) = (HashSet::new(), 0);
    loop {
        changes.mark_unchanged();
        let Some(webhooks) = log.record(wallet.webhooks().await) else {
            tokio::time::sleep(back_off(failures)).await;
            failures += 1;
            continue;
        };
        failures = 0;
        let ids: HashSet<WebhookId> = webhooks.into_iter().map(|webhook| webhook.id).collect();
        for id in ids.difference(&known) {
            let (wallet, id) = (Arc::clone(&wallet), id.clone());
            tasks.spawn(async move {
                let deliver = || deliver(Arc::clone(&wallet), id.clone(), render);
                restart_after_panic("webhook", back_off, deliver).await;
            });
        }
        known = ids;
        tokio::select! {
            _ = changes.changed() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Delivers the events of one webhook until it is deleted. Waits for the next event without a timer.
async fn deliver(wallet: Arc<Wallet>, id: WebhookId, render: Render) {
    let mut log = FailureLog::new("deliveries of a webhook");
    let (mut changes, mut newest) = (wallet.webhook_changes(), wallet.newest_event());
    let mut failures = 0;
    loop {
        changes.mark_unchanged();
        newest.mark_unchanged();
        let next = log.record(wallet.deliver_events(&id, render).await);
        failures = if next.is_some() { 0 } else { failures + 1 };
        match next {
            Some(NextDelivery::Never) => return,
            Some(NextDelivery::Enabling) => drop(changes.changed().await),
            Some(NextDelivery::Event) => tokio::select! {
                _ = changes.changed() => {}
                _ = newest.changed() => {}
            },
            Some(NextDelivery::Pause(pause)) => tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            },
            None => tokio::time::sleep(back_off(failures)).await,
        }
    }
}
