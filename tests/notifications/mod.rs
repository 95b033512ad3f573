//! Events: what happened, over long polls, web sockets and server-sent events (docs/protocol.md §26).

mod clients;
mod cursors;
mod endings;
mod published;
mod resume;
mod types;

use clients::Access;
use serde_json::{Value, json};

use crate::support::{Daemon, World};

/// A daemon whose only movement, number 1, is a board.
async fn scene() -> (World, Daemon) {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    (world, daemon)
}

/// Makes an event: the board's metadata gets this note.
async fn note(access: &Access, note: impl Into<Value>) {
    let patched = access.patch(1, &json!({"note": note.into()})).await;
    assert_eq!(patched.unwrap(), 200);
}

/// The note that the movement of an event has.
fn note_of(event: &Value) -> &Value {
    &event["movement"]["metadata"]["note"]
}

fn id_of(event: &Value) -> u64 {
    let id = event["id"].as_u64();
    id.unwrap_or_else(|| panic!("an event has an id: {event}"))
}

/// The types of events, in their order.
fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str().unwrap());
    types.collect()
}

/// The newest event.
async fn newest(access: &Access) -> u64 {
    let mut cursor = 0;
    loop {
        let path = format!("/notifications/wait?after={cursor}&types=all&timeout=0");
        let (status, answer) = access.get(&path).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        cursor = answer["last_event_id"].as_u64().unwrap();
        if answer["notifications"] == json!([]) {
            return cursor;
        }
    }
}
