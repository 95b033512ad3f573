//! Each limit by itself.

use std::time::{Duration, Instant};

use super::{daemon, request};
use crate::support::RawConnection;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_head_of_a_request_has_to_arrive_in_time() {
    let daemon = daemon(&["--client-timeout-secs", "1"]).await;
    let mut silent = RawConnection::open(&daemon).await;
    let mut slow = RawConnection::open(&daemon).await;
    let begun = Instant::now();
    let mut sent = slow.send("GET /ping HTTP/1.1\r\nx: ").await;
    while sent && begun.elapsed() < 30 * SECOND {
        tokio::time::sleep(SECOND / 10).await;
        sent = slow.send("y").await;
    }
    assert!(begun.elapsed() >= SECOND / 2, "it gets a second");
    assert!(begun.elapsed() < 30 * SECOND, "it is cut");
    assert_eq!(silent.read_to_end().await, "");
    daemon.get("/wallet").await.ok();
}

#[tokio::test]
async fn the_body_of_a_request_has_to_arrive_in_time() {
    let daemon = daemon(&["--client-timeout-secs", "1"]).await;
    let headers = "content-type: application/json\r\ncontent-length: 1000\r\n";
    let head = request(&daemon, "POST /api/v1/wallet/create", headers);
    let mut slow = RawConnection::open(&daemon).await;
    assert!(slow.send(&head).await && slow.send("{\"net").await);
    let answer = slow.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"body_timed_out\""), "{answer}");
    assert!(answer.contains("\"request_id\""), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_between_requests_is_kept_for_a_while() {
    let flags = ["--idle-timeout-secs", "8", "--client-timeout-secs", "1"];
    let daemon = daemon(&flags).await;
    let mut connection = RawConnection::open(&daemon).await;
    for _ in 0..2 {
        assert!(
            connection
                .send("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
        );
        connection.read_until("pong").await;
        // Longer than a request may take, shorter than a connection may idle.
        assert!(connection.is_silent_for(2 * SECOND).await);
    }
    assert_eq!(connection.read_to_end().await, "");
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let daemon = daemon(&[]).await;
    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(200_000));
    for headers in [many, large] {
        let mut connection = RawConnection::open(&daemon).await;
        connection
            .send(&format!("GET /ping HTTP/1.1\r\nhost: x\r\n{headers}\r\n"))
            .await;
        let answer = connection.read_until("\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let few: String = (0..90).map(|i| format!("x-{i}: y\r\n")).collect();
    let mut connection = RawConnection::open(&daemon).await;
    connection
        .send(&format!("GET /ping HTTP/1.1\r\nhost: x\r\n{few}\r\n"))
        .await;
    connection.read_until("pong").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let daemon = daemon(&["--client-timeout-secs", "1", "--idle-timeout-secs", "300"]).await;
    let mut deaf = RawConnection::open(&daemon).await;
    // The document has 200 kB and more; the buffers of both sides take a few megabytes of it.
    let document = "GET /api-docs/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    assert!(deaf.send(&document).await);
    let begun = Instant::now();
    while deaf.send("GET").await {
        assert!(begun.elapsed() < 30 * SECOND, "it is not cut");
        tokio::time::sleep(SECOND / 10).await;
    }
}

#[tokio::test]
async fn at_the_maximum_the_connection_that_waits_longest_makes_room() {
    let daemon = daemon(&["--max-connections", "8"]).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut connection = RawConnection::open(&daemon).await;
        assert!(
            connection
                .send("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
        );
        connection.read_until("pong").await;
        idle.push(connection);
    }
    let mut oldest = idle.remove(0);
    let begun = Instant::now();
    daemon.get("/wallet").await.ok();
    assert!(begun.elapsed() < 5 * SECOND);
    assert_eq!(oldest.read_to_end().await, "");
    let mut newest = idle.pop().expect("seven are left");
    assert!(newest.send("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await);
    newest.read_until("pong").await;
}
