//! Receivers that fail, are slow, or go away, and a daemon that is killed.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::receiver::{Manner, Receiver};
use super::{alter, first_of, newest, note, notes, patch, path, settled, shown};
use crate::support::{Daemon, PATIENCE, World, assert_conserved, eventually};

/// Lets the next try of every failed event be due.
const DUE: &str = "UPDATE webhook SET next_try_at = 0 WHERE failing_since IS NOT NULL";

async fn wait_for_failures(daemon: &Daemon, webhook: &Value, count: u64) -> Value {
    eventually("the receiver has failed", async || {
        let state = shown(daemon, webhook).await;
        (state["failures"].as_u64() >= Some(count)).then_some(state)
    })
    .await
}

async fn wait_until_disabled(daemon: &Daemon, webhook: &Value) {
    eventually("the webhook is disabled", async || {
        let state = shown(daemon, webhook).await;
        (state["enabled"] == false).then_some(())
    })
    .await;
}

/// The codes of what waits for the operator.
async fn attention(daemon: &Daemon) -> Vec<String> {
    let facts = daemon.attention().await;
    let codes = facts.iter().map(|fact| fact["code"].as_str().unwrap());
    codes.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_receiver_that_fails_for_an_hour_gets_all_in_order_afterwards() {
    let world = World::new().await;
    let mut daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({})).await;
    let first = first_of(&webhook);
    receiver.answer_with(Manner::Status(500));
    notes(&daemon, 10).await;
    let failing = wait_for_failures(&daemon, &webhook, 3).await;
    assert_eq!(failing["last_error"], "status 500");
    assert_eq!(failing["enabled"], true);
    assert!(failing["next_try_at"].as_str() > failing["failing_since"].as_str());
    let failed = receiver.calls();
    assert!(failed.len() >= 3, "the fault has acted");
    assert!(failed.iter().all(|call| call.event() == first));

    let hour = "UPDATE webhook SET failing_since = failing_since - 3600000, failures = 12, next_try_at = 0";
    alter(&mut daemon, hour).await;
    notes(&daemon, 5).await;
    let failing = wait_for_failures(&daemon, &webhook, 13).await;
    assert!(receiver.calls().len() > failed.len());
    let next: chrono::DateTime<chrono::Utc> =
        failing["next_try_at"].as_str().unwrap().parse().unwrap();
    let pause = next - chrono::Utc::now();
    assert!((6..=15).contains(&pause.num_minutes()), "{pause}");

    receiver.answer_with(Manner::Status(204));
    alter(&mut daemon, DUE).await;
    let last = newest(&daemon);
    receiver.wait_for(last).await;
    receiver.assert_complete(first, last);
    receiver.assert_signed_by(&webhook);
    let state = shown(&daemon, &webhook).await;
    assert_eq!(state["failures"], 0);
    assert!(state["last_error"].is_null() && state["failing_since"].is_null());
    let log = daemon.log();
    assert!(log.contains("a webhook's receiver fails; retrying"));
    assert!(log.contains("a webhook's receiver works again"));
    assert!(!log.contains("token=abc") && !log.contains("whsec_"));
    assert_eq!(attention(&daemon).await, [""; 0]);
}

#[tokio::test]
async fn a_dead_receiver_slows_neither_another_one_nor_a_payment() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", dead.local_addr().unwrap());
    let silent = daemon.post("/webhooks", json!({"url": url})).await.ok();
    let live = Receiver::start().await;
    let webhook = live.subscribe(&daemon, json!({})).await;
    let first = first_of(&webhook);
    let own = daemon.address().await;
    assert!(note(&daemon, 0).await);
    let connected = tokio::time::timeout(PATIENCE, dead.accept()).await;
    let (try_at_dead, _) = connected.expect("the fault acts").unwrap();

    for sats in 1_000..1_003 {
        daemon.send(&own, sats).await.ok();
    }
    daemon.settled().await;
    daemon.wait_for_spendable(50_000).await;
    let last = newest(&daemon);
    live.wait_for(last).await;
    // The try at the dead receiver is given up after 15 seconds. Nothing has waited for that: it still goes on.
    let mut rest = [0; 4096];
    while try_at_dead.try_read(&mut rest).is_ok_and(|read| read > 0) {}
    let next = try_at_dead
        .try_read(&mut rest)
        .map_err(|error| error.kind());
    assert_eq!(next, Err(std::io::ErrorKind::WouldBlock));
    live.assert_complete(first, last);
    let state = shown(&daemon, &silent).await;
    assert_eq!(state["last_event_id"], silent["last_event_id"]);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_killed_daemon_loses_no_event_and_repeats_one_with_its_id() {
    let world = World::new().await;
    let mut daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({})).await;
    let first = first_of(&webhook);
    // Killed between the post and the write.
    receiver.answer_with(Manner::Hold);
    notes(&daemon, 3).await;
    receiver.wait_for_calls(1).await;
    daemon.kill().await;
    receiver.answer_with(Manner::Status(200));
    daemon.restart(None).await;
    receiver.wait_for(newest(&daemon)).await;
    let calls = receiver.calls();
    assert_eq!(calls[0].id, calls[1].id);
    assert_eq!(calls[0].event(), first);
    // Killed at any moment of a busy time.
    for _ in 0..3 {
        let seen = receiver.calls().len();
        let busy = async {
            for text in 0..100 {
                if !note(&daemon, text).await {
                    break;
                }
            }
        };
        let kill = async {
            receiver.wait_for_calls(seen + 12).await;
            daemon.kill_now();
        };
        tokio::join!(busy, kill);
        daemon.wait_for_exit().await;
        daemon.restart(None).await;
    }
    let last = newest(&daemon);
    assert!(last > first + 30, "{last}");
    receiver.wait_for(last).await;
    receiver.assert_complete(first, last);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_a_change_of_the_url_is_tried_at_once() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({})).await;
    receiver.answer_with(Manner::Redirect("/target"));
    notes(&daemon, 2).await;
    let failing = wait_for_failures(&daemon, &webhook, 2).await;
    assert_eq!(
        failing["last_error"],
        "status 302; redirects are not followed"
    );
    assert!(receiver.calls().iter().all(|call| call.path == "hook"));

    let moved = Receiver::start().await;
    moved.trust(&webhook);
    let changed = patch(&daemon, &webhook, json!({"url": moved.url()})).await;
    assert_eq!(
        (&changed["failures"], &changed["url"]),
        (&json!(0), &json!(moved.url()))
    );
    let last = newest(&daemon);
    moved.wait_for(last).await;
    moved.assert_complete(first_of(&webhook), last);
    moved.assert_signed_by(&webhook);
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_its_webhook_until_it_is_enabled() {
    let world = World::new().await;
    let mut daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({})).await;
    let first = first_of(&webhook);
    receiver.answer_with(Manner::Status(410));
    notes(&daemon, 3).await;
    wait_until_disabled(&daemon, &webhook).await;
    assert_eq!(receiver.calls().len(), 1);
    let facts = daemon.attention().await;
    assert_eq!(facts[0]["code"], "webhook_given_up");
    assert_eq!(facts[0]["subject"], webhook["id"]);
    receiver.answer_with(Manner::Status(200));
    alter(&mut daemon, DUE).await;
    notes(&daemon, 1).await;
    let state = shown(&daemon, &webhook).await;
    assert_eq!(
        (&state["enabled"], &state["last_error"]),
        (&json!(false), &json!("status 410"))
    );
    assert_eq!(receiver.calls().len(), 1);

    patch(&daemon, &webhook, json!({"enabled": true})).await;
    assert_eq!(attention(&daemon).await, [""; 0]);
    let last = newest(&daemon);
    receiver.wait_for(last).await;
    receiver.assert_complete(first, last);
}

#[tokio::test]
async fn a_webhook_is_given_up_after_three_days_and_says_what_it_has_lost() {
    let world = World::new().await;
    let mut daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({})).await;
    let first = first_of(&webhook);
    receiver.answer_with(Manner::Status(503));
    notes(&daemon, 8).await;
    wait_for_failures(&daemon, &webhook, 1).await;
    let days = "UPDATE webhook SET failing_since = failing_since - 3 * 86400000, failures = 49, next_try_at = 0";
    alter(&mut daemon, days).await;
    wait_until_disabled(&daemon, &webhook).await;
    assert_eq!(attention(&daemon).await, ["webhook_given_up"]);

    // Meanwhile the oldest events are pruned.
    alter(
        &mut daemon,
        &format!("DELETE FROM event WHERE id < {}", first + 3),
    )
    .await;
    receiver.answer_with(Manner::Status(200));
    let arrived = receiver.calls().len();
    patch(&daemon, &webhook, json!({"enabled": true})).await;
    let last = newest(&daemon);
    receiver.wait_for(last).await;
    receiver.assert_complete(first + 3, last);
    assert_eq!(receiver.calls()[arrived].event(), first + 3);
    assert_eq!(shown(&daemon, &webhook).await["lost_events"], 3);
    let facts = daemon.attention().await;
    assert_eq!(facts[0]["code"], "webhook_events_lost");
    let message = facts[0]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("events {first} to {}", first + 2)),
        "{message}"
    );

    let confirmed = patch(&daemon, &webhook, json!({"enabled": true})).await;
    assert_eq!(confirmed["lost_events"], 0);
    assert_eq!(attention(&daemon).await, [""; 0]);
    let deleted = format!("{}/redeliver", path(&webhook));
    let message = daemon.post(&deleted, json!({"after": first})).await;
    let message = message.refused(410, "events_pruned");
    assert!(
        message.contains(&format!("pass {} as", first + 2)),
        "{message}"
    );
}
