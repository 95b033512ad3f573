//! Channels that end: the daemon stops, the wallet is deleted, and clients that do not read.

use serde_json::json;

use super::clients::{Access, Ws};
use super::{id_of, newest, note, scene};

/// Events of eight kilobytes, more of them than the buffers of a connection hold.
const FLOOD: u64 = 1000;

/// So many that a daemon which does not wait for their ends leaves some of them without one.
const SOCKETS: usize = 100;

/// A client with a small buffer that reads nothing.
async fn idle(access: &Access, query: &str) -> Ws {
    let query = format!("ticket={}{query}", access.ticket().await.unwrap());
    access.ws_with(&query, Some(4096)).await.unwrap()
}

/// Makes more bytes of events than a connection buffers.
async fn flood(access: &Access) {
    let large = "x".repeat(8_000);
    for number in 0..FLOOD {
        note(access, json!([number, large])).await;
    }
}

#[tokio::test]
async fn a_daemon_that_stops_ends_what_waits_for_events() {
    let (_world, mut daemon) = scene().await;
    let access = Access::to(&daemon);
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(access.ws("").await.unwrap());
    }
    let mut stream = access.sse("", None).await.unwrap();
    stream.next().await.unwrap();
    let last = newest(&access).await;
    let waiting = tokio::spawn({
        let access = access.clone();
        async move {
            access
                .get(&format!("/notifications/wait?after={last}"))
                .await
                .unwrap()
        }
    });
    // The long poll was sent before these requests, and is answered after them.
    for _ in 0..20 {
        daemon.get("/wallet").await.ok();
    }
    assert!(!waiting.is_finished());
    daemon.stop_unhindered().await;
    for mut socket in sockets {
        assert_eq!(socket.farewell().await, "the daemon stops");
    }
    assert!(stream.next().await.is_none());
    let (status, answer) = waiting.await.unwrap();
    assert_eq!((status, &answer["code"]), (503, &json!("stopping")));
}

#[tokio::test]
async fn the_deletion_of_the_wallet_ends_what_waits_for_events() {
    let (world, daemon) = scene().await;
    let access = Access::to(&daemon);
    // Neither an idle client nor one that does not read keeps the wallet in use.
    let _stuck = idle(&access, "&after=0").await;
    let _stuck_stream = access.sse("after=0", None).await.unwrap();
    flood(&access).await;
    let mut socket = access.ws("").await.unwrap();
    let mut stream = access.sse("", None).await.unwrap();
    stream.next().await.unwrap();
    let last = newest(&access).await;
    let waiting = async {
        access
            .get(&format!("/notifications/wait?after={last}"))
            .await
    };
    let wallet = daemon.get("/wallet").await.ok();
    let asked = std::time::Instant::now();
    let deletion = async {
        let body = json!({"dangerous": true, "fingerprint": wallet["fingerprint"]});
        daemon
            .try_send("DELETE", "/wallet", Some(body))
            .await
            .unwrap()
            .ok()
    };
    let (waited, deleted) = tokio::join!(waiting, deletion);
    assert_eq!(deleted["deleted"], true, "{deleted}");
    assert!(asked.elapsed() < std::time::Duration::from_secs(10));
    let (status, answer) = waited.unwrap();
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["code"], "no_wallet");
    assert_eq!(socket.farewell().await, "the wallet is closed");
    assert!(stream.next().await.is_none());

    // The next wallet counts from 1 again.
    daemon.create_wallet(&world).await;
    let access = Access::to(&daemon);
    let first = access.wait("after=0&types=all").await;
    assert_eq!(id_of(&first[0]), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_nothing_and_delays_nobody() {
    let (_world, daemon) = scene().await;
    let access = Access::to(&daemon);
    let before = newest(&access).await;
    let mut slow = idle(&access, &format!("&after={before}&types=all")).await;
    let mut quick = access
        .ws(&format!("&after={before}&types=all"))
        .await
        .unwrap();
    let reading = async {
        for expected in 1..=FLOOD {
            let event = quick.next().await.unwrap();
            assert_eq!(id_of(&event), before + expected);
        }
    };
    tokio::join!(reading, flood(&access));
    for expected in 1..=FLOOD {
        let event = slow.next().await.unwrap();
        assert_eq!(id_of(&event), before + expected);
    }
}
