//! Cursors: pages, filters, and cursors that the daemon cannot serve.

use serde_json::{Value, json};

use super::clients::Access;
use super::{id_of, newest, note, note_of, scene};

#[tokio::test]
async fn pages_lose_nothing_by_number_and_by_time() {
    let (_world, daemon) = scene().await;
    let access = Access::to(&daemon);
    let start = newest(&access).await;
    for number in 0..7 {
        note(&access, number).await;
    }
    let (mut by_number, mut cursor) = (Vec::new(), start);
    let (mut by_time, mut since) = (Vec::new(), String::new());
    while by_number.len() < 7 {
        let path = format!("/notifications/wait?after={cursor}&limit=2&timeout=0");
        let (_, page) = access.get(&path).await.unwrap();
        cursor = page["last_event_id"].as_u64().unwrap();
        let events = page["notifications"].as_array().unwrap();
        assert!((1..=2).contains(&events.len()), "{page}");
        assert_eq!(
            page["last_pushed_at"],
            events[events.len() - 1]["created_at"]
        );
        by_number.extend(events.iter().map(|event| note_of(event).clone()));
    }
    while by_time.len() < 7 {
        let path = format!("/notifications/wait?limit=2&timeout=0{since}");
        let (_, page) = access.get(&path).await.unwrap();
        since = format!("&since={}", page["last_pushed_at"].as_str().unwrap());
        let events = page["notifications"].as_array().unwrap();
        assert!(!events.is_empty(), "{page}");
        let notes = events.iter().map(note_of).filter(|note| !note.is_null());
        by_time.extend(notes.cloned());
    }
    let expected: Vec<Value> = (0..7).map(Value::from).collect();
    assert_eq!(by_number, expected);
    assert_eq!(by_time, expected);
}

#[tokio::test]
async fn a_client_gets_the_types_that_it_asks_for() {
    let (_world, daemon) = scene().await;
    let access = Access::to(&daemon);
    let all = access.wait("after=0&types=all&timeout=0").await;
    let numbers: Vec<u64> = all.iter().map(id_of).collect();
    let expected: Vec<u64> = (1..=newest(&access).await).collect();
    assert_eq!(numbers, expected, "numbers have no gaps");
    for wanted in [
        vec!["movement-created", "movement-updated"],
        vec!["operation-updated"],
        vec!["movement-created", "server-connected"],
    ] {
        let list = wanted.join(",");
        let got = access
            .wait(&format!("after=0&types={list}&timeout=0"))
            .await;
        let fits = |event: &&Value| wanted.contains(&event["type"].as_str().unwrap());
        let expected: Vec<Value> = all.iter().filter(fits).cloned().collect();
        assert!(!expected.is_empty(), "{list}");
        assert_eq!(got, expected, "{list}");
        if list == "movement-created,movement-updated" {
            assert_eq!(
                access.wait("after=0&timeout=0").await,
                expected,
                "by default"
            );
        }
        let mut socket = access.ws(&format!("&after=0&types={list}")).await.unwrap();
        let mut stream = access
            .sse(&format!("after=0&types={list}"), None)
            .await
            .unwrap();
        for event in &expected {
            assert_eq!(socket.next().await.as_ref(), Some(event));
            let sent = stream.next_event().await.unwrap();
            assert_eq!(sent.data.as_ref(), Some(event));
            assert_eq!(sent.id, Some(id_of(event)));
            assert_eq!(sent.name, event["type"].as_str().unwrap());
        }
        assert!(socket.is_quiet().await);
    }
    for path in [
        "wait?types=payments",
        "sse?types=",
        "wait?types=movement-created;x",
    ] {
        daemon
            .get(&format!("/notifications/{path}"))
            .await
            .refused(400, "invalid_types");
    }
}

#[tokio::test]
async fn invalid_questions_are_refused() {
    let (_world, daemon) = scene().await;
    for query in [
        "since=2026-08-21T14:02:42Z&after=1",
        "timeout=31",
        "limit=0",
        "limit=1001",
        "after=-1",
        "after=x",
    ] {
        daemon
            .get(&format!("/notifications/wait?{query}"))
            .await
            .refused(400, "invalid_query");
    }
    for path in ["wait?after=1000000&timeout=0", "sse?after=1000000"] {
        let message = daemon
            .get(&format!("/notifications/{path}"))
            .await
            .refused(400, "cursor_ahead");
        assert!(message.contains("GET /api/v1/history"), "{message}");
    }
    let access = Access::to(&daemon);
    assert!(access.ws("&after=1000000").await.is_err());
    for ticket in ["", "x", &"0".repeat(64)] {
        let opened = access.ws_with(&format!("ticket={ticket}"), None).await;
        assert!(opened.is_err(), "{ticket}");
    }
    // Without the headers of a web socket, a ticket is not used up.
    let ticket = access.ticket().await.unwrap();
    let plain = daemon
        .get(&format!("/notifications/ws?ticket={ticket}"))
        .await;
    assert!(matches!(plain.status, 400 | 426), "{plain:?}");
    daemon
        .get("/notifications/ws")
        .await
        .refused(400, "invalid_query");
    access
        .ws_with(&format!("ticket={ticket}"), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_learns_that_events_were_pruned_before_it_read_them() {
    let (_world, mut daemon) = scene().await;
    let access = Access::to(&daemon);
    for number in 0..10 {
        note(&access, number).await;
    }
    let since = access.wait("after=0&timeout=0").await[0]["created_at"].clone();
    daemon.stop().await;
    daemon
        .restart_with(None, &[("BARK_EVENT_RETENTION_ROWS", "4")])
        .await;
    let access = Access::to(&daemon);
    let kept = crate::support::eventually("old events are deleted", async || {
        let (status, answer) = access
            .get("/notifications/wait?after=0&types=all&timeout=0")
            .await
            .unwrap();
        (status == 410).then_some(answer)
    })
    .await;
    assert_eq!(kept["code"], "events_pruned");
    let message = kept["message"].as_str().unwrap();
    let (_, last) = message.rsplit_once("after=").unwrap();
    let last: u64 = last.parse().unwrap();

    let kept = access
        .wait(&format!("after={last}&types=all&timeout=0"))
        .await;
    assert_eq!(id_of(&kept[0]), last + 1);
    let lagging = json!({"type": "channel-lagging", "id": last});
    let mut socket = access.ws("&after=0&types=all").await.unwrap();
    let mut stream = access.sse("after=0&types=all", None).await.unwrap();
    let by_time = access
        .wait(&format!(
            "types=all&timeout=0&since={}",
            since.as_str().unwrap()
        ))
        .await;
    for (place, event) in [&lagging].into_iter().chain(&kept).enumerate() {
        assert_eq!(socket.next().await.as_ref(), Some(event));
        let sent = stream.next_event().await.unwrap();
        assert_eq!(sent.data.as_ref(), Some(event));
        assert_eq!(sent.id, Some(id_of(event)));
        assert_eq!(&by_time[place], event);
    }
}

#[tokio::test]
async fn a_stream_of_events_goes_on_where_its_client_was() {
    let (_world, daemon) = scene().await;
    let access = Access::to(&daemon);
    let mut stream = access.sse("", None).await.unwrap();
    // The place is known before anything has happened.
    let start = stream.next().await.unwrap();
    assert!(start.data.is_none());
    drop(stream);
    note(&access, "missed").await;
    let mut stream = access.sse("after=0", start.id).await.unwrap();
    let sent = stream.next_event().await.unwrap();
    assert_eq!(note_of(&sent.data.unwrap()), "missed");
    let header = |value: &'static str| {
        daemon.raw("GET", "/api/v1/notifications/sse", move |request| {
            request.header("Last-Event-ID", value)
        })
    };
    header("x").await.refused(400, "invalid_last_event_id");
    header("1000000").await.refused(400, "cursor_ahead");
}
