//! A stop does not wait for clients that have sent no request.

use super::{daemon, request};
use crate::support::RawConnection;

#[tokio::test]
async fn a_stop_closes_idle_and_slow_connections_at_once() {
    let mut daemon = daemon(&[]).await;
    let mut idle = RawConnection::open(&daemon).await;
    assert!(idle.send(&request(&daemon, "GET /ping", "")).await);
    idle.read_until("pong").await;
    let mut slow = RawConnection::open(&daemon).await;
    assert!(slow.send("GET /ping HTTP/1.1\r\nx: ").await);
    // Later than both.
    daemon.get("/wallet").await.ok();
    daemon.stop_unhindered().await;
    assert_eq!(idle.read_to_end().await, "");
    assert_eq!(slow.read_to_end().await, "");
}
