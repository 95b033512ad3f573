//! The events agree with the history.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::daemon::Daemon;

/// How often both are read until nothing happens in between.
const TRIES: usize = 50;

/// Asserts that each movement was told of once when it was created, and that the last event about it shows it as the history does.
pub(super) async fn assert_events_tell_the_history(daemon: &Daemon) {
    let mut events = events(daemon).await;
    for _ in 0..TRIES {
        let history = daemon.history().await;
        let later = self::events(daemon).await;
        if later.len() == events.len() {
            return compare(&events, &history, &first_stamp(daemon).await);
        }
        events = later;
    }
    panic!("events do not end");
}

/// All events about movements.
async fn events(daemon: &Daemon) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), json!(0));
    loop {
        let path = format!("/notifications/wait?after={cursor}&timeout=0");
        let page = daemon.get(&path).await.ok();
        let events = page["notifications"].as_array().expect("a list");
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().cloned());
        cursor = page["last_event_id"].clone();
    }
}

/// When the database began to keep events. What is older was imported.
async fn first_stamp(daemon: &Daemon) -> String {
    let path =
        "/notifications/wait?after=0&types=server-connected,server-disconnected&limit=1&timeout=0";
    let page = daemon.get(path).await.ok();
    let stamp = page["notifications"][0]["created_at"].as_str();
    stamp.unwrap_or_default().to_owned()
}

fn compare(events: &[Value], history: &[Value], first_stamp: &str) {
    let (mut created, mut shown) = (HashMap::new(), HashMap::new());
    for event in events {
        let id = event["movement"]["id"].as_u64().expect("a number");
        if event["type"] == "movement-created" {
            assert!(!shown.contains_key(&id), "{event:#}");
            *created.entry(id).or_insert(0) += 1;
        }
        shown.insert(id, &event["movement"]);
    }
    for movement in history {
        let id = movement["id"].as_u64().expect("a number");
        let made = movement["time"]["created_at"].as_str().expect("a time");
        let is_imported = made < first_stamp;
        assert_eq!(
            created.get(&id).copied().unwrap_or(0),
            i32::from(!is_imported),
            "{movement:#}"
        );
        if let Some(shown) = shown.get(&id) {
            assert_eq!(*shown, movement, "the last event about it");
        }
    }
}
