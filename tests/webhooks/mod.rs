//! Webhooks: each event reaches its receivers, in order and at least once (docs/protocol.md §26.6).

mod outages;
mod receiver;
mod settings;

use std::collections::BTreeSet;

use bark_rest_client::apis::history_api;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, eventually};
use receiver::{Call, Manner, Receiver};

/// A daemon whose first movement is over, so that events are made only by [`note`].
async fn settled(world: &World) -> Daemon {
    let daemon = Daemon::with_wallet(world).await;
    daemon.fund_and_board(world, 50_000).await;
    daemon
}

/// Makes an event: a change of the first movement's metadata. Answers whether the daemon has confirmed it.
async fn note(daemon: &Daemon, text: u32) -> bool {
    let client = daemon.generated_client();
    let noted = history_api::update_metadata(&client, 1, Some(json!({ "note": text })));
    noted.await.is_ok()
}

/// Makes this many events.
async fn notes(daemon: &Daemon, count: u32) {
    for text in 0..count {
        assert!(note(daemon, text).await);
    }
}

/// One result of SQL on the database of a daemon, which may be running.
fn number(daemon: &Daemon, sql: &str) -> u64 {
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The number of the newest event.
fn newest(daemon: &Daemon) -> u64 {
    number(daemon, "SELECT max(id) FROM event")
}

/// Stops a daemon, changes its database, and starts it again.
async fn alter(daemon: &mut Daemon, sql: &str) {
    daemon.stop().await;
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    daemon.restart(None).await;
}

/// A webhook as it is now.
async fn shown(daemon: &Daemon, webhook: &Value) -> Value {
    daemon.get(&path(webhook)).await.ok()
}

/// The number of the first event that a new webhook gets.
fn first_of(webhook: &Value) -> u64 {
    webhook["last_event_id"].as_u64().expect("a number") + 1
}

/// The path of a webhook.
fn path(webhook: &Value) -> String {
    format!("/webhooks/{}", webhook["id"].as_str().expect("an id"))
}

async fn patch(daemon: &Daemon, webhook: &Value, change: Value) -> Value {
    let changed = daemon.try_send("PATCH", &path(webhook), Some(change)).await;
    changed.unwrap().ok()
}

#[tokio::test]
async fn events_arrive_signed_in_order_and_once_over_one_connection() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({"after": 0})).await;
    let filtered = Receiver::start().await;
    let created = json!({"event_types": ["movement-created"]});
    filtered.subscribe(&daemon, created).await;
    notes(&daemon, 30).await;
    daemon.send(&daemon.address().await, 1_000).await.ok();
    daemon.settled().await;
    daemon.wait_for_spendable(50_000).await;
    let newest = newest(&daemon);
    receiver.wait_for(newest).await;

    receiver.assert_complete(1, newest);
    let all: BTreeSet<_> = receiver.confirmed().into_iter().collect();
    assert_eq!(receiver.confirmed().len(), all.len(), "each arrives once");
    receiver.assert_signed_by(&webhook);
    assert_eq!(receiver.connections(), 1);
    let calls = receiver.calls();
    let created = |call: &&Call| call.body["type"] == "movement-created";
    let first = &calls.iter().find(created).expect("a board").body;
    assert_eq!(first["movement"]["subsystem"]["name"], "bark.board");
    filtered.wait_for_calls(1).await;
    let names = filtered.calls();
    assert!(
        names
            .iter()
            .all(|call| call.body["type"] == "movement-created")
    );

    eventually("the cursor is written", async || {
        let state = shown(&daemon, &webhook).await;
        assert_eq!(state["failures"], 0);
        (state["last_event_id"].as_u64() >= Some(newest)).then_some(())
    })
    .await;
    let log = format!("{}/deliveries?limit=3", path(&webhook));
    let log = daemon.get(&log).await.ok();
    let (last, number) = (&log[0], &log[2]["number"]);
    assert!(last["event_id"].as_u64() >= Some(newest));
    assert_eq!(
        (&last["delivered"], &last["attempt"]),
        (&json!(true), &json!(1))
    );
    assert!(last["latency_ms"].is_u64() && last["error"].is_null());
    let older = format!("{}/deliveries?before={number}", path(&webhook));
    let older = daemon.get(&older).await.ok();
    assert_eq!(
        older[0]["event_id"].as_u64().map(|id| id + 1),
        log[2]["event_id"].as_u64()
    );
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn ten_thousand_events_arrive_over_one_connection_at_length() {
    let world = World::new().await;
    let mut daemon = settled(&world).await;
    let copies = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000),
             last AS (SELECT * FROM event ORDER BY id DESC LIMIT 1)
         INSERT INTO event (stamp, kind, subject, body) SELECT stamp + i, kind, subject, body FROM n, last";
    alter(&mut daemon, copies).await;
    let receiver = Receiver::start().await;
    receiver.subscribe(&daemon, json!({"after": 0})).await;
    let newest = newest(&daemon);
    assert!(newest > 10_000);
    let started = std::time::Instant::now();
    for reached in (1_000..=newest).step_by(1_000) {
        receiver.wait_for(reached).await;
    }
    receiver.wait_for(newest).await;
    println!("{newest} events in {:?}", started.elapsed());
    receiver.assert_complete(1, newest);
    assert_eq!(receiver.connections(), 1);
    assert_eq!(
        number(&daemon, "SELECT count(*) FROM webhook_delivery"),
        1000
    );
}

#[tokio::test]
async fn a_test_goes_out_of_order_and_leaves_the_cursor() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let created = json!({"event_types": ["movement-created"]});
    let webhook = receiver.subscribe(&daemon, created).await;
    let try_it = format!("{}/test", path(&webhook));
    let passed = daemon.post_empty(&try_it).await.ok();
    assert_eq!(
        (&passed["delivered"], &passed["status"]),
        (&json!(true), &json!(200))
    );
    receiver.answer_with(Manner::Status(418));
    let failed = daemon.post_empty(&try_it).await.ok();
    assert_eq!(
        (&failed["delivered"], &failed["error"]),
        (&json!(false), &json!("status 418"))
    );
    let calls = receiver.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.body["type"] == "test"));
    assert_ne!(calls[0].id, calls[1].id);
    receiver.assert_signed_by(&webhook);
    let state = shown(&daemon, &webhook).await;
    assert_eq!(state["failures"], 0);
    let log = daemon
        .get(&format!("{}/deliveries", path(&webhook)))
        .await
        .ok();
    assert_eq!(log[0], failed);
    assert_eq!(log[1], passed);
}

#[tokio::test]
async fn events_are_delivered_again_on_request() {
    let world = World::new().await;
    let daemon = settled(&world).await;
    let receiver = Receiver::start().await;
    let webhook = receiver.subscribe(&daemon, json!({"after": 0})).await;
    let last = newest(&daemon);
    receiver.wait_for(last).await;
    let again = format!("{}/redeliver", path(&webhook));
    daemon.post(&again, json!({"after": 1})).await.ok();
    let times = |event: u64| {
        let calls = receiver.calls();
        calls.iter().filter(|call| call.event() == event).count()
    };
    let twice = async || (times(last) == 2).then_some(());
    eventually("the last event has arrived twice", twice).await;
    assert_eq!(times(1), 1);
    assert!((2..=last).all(|event| times(event) == 2));
    let arrived = receiver.confirmed();
    let again_from = arrived.iter().rposition(|event| *event == 2).unwrap();
    assert!(arrived[again_from..].is_sorted());
    receiver.assert_same_posts();
    daemon
        .post(&again, json!({"after": last + 1_000_000}))
        .await
        .refused(400, "cursor_ahead");
    let unknown = daemon.post("/webhooks/wh_0/redeliver", json!({"after": 0}));
    unknown.await.refused(404, "unknown_webhook");
}
