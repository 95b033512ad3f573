//! A database that is older than the wallet: copied, used, and put back.

use serde_json::json;

use super::{backed_up, copy_database, put_back, recovered, report, states};
use crate::support::{Daemon, World, assert_conserved, assert_history_adds_up, eventually};

/// A daemon on a database from before it paid a peer and was paid by it; what it had then; and the peer.
async fn older() -> (World, Daemon, Daemon) {
    let world = World::new().await;
    let (mut daemon, peer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    daemon.fund_and_board(&world, 60_000).await;
    daemon.fund_and_board(&world, 40_000).await;
    backed_up(&daemon).await;
    daemon.stop().await;
    copy_database(&daemon);
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    daemon.send(&peer.address().await, 25_000).await.ok();
    peer.wait_for_spendable(25_000).await;
    peer.send(&daemon.address().await, 3_000).await.ok();
    daemon.wait_for_spendable(78_000).await;
    backed_up(&daemon).await;
    (world, daemon, peer)
}

#[tokio::test]
async fn an_older_database_is_reconciled() {
    let (world, mut daemon, peer) = older().await;
    let had = states(&daemon).await;
    daemon.stop().await;
    put_back(&daemon);
    daemon.restart(None).await;
    daemon.wait_for_spendable(78_000).await;
    let report = recovered(&daemon).await;
    assert_eq!(report["cause"], "older_database", "{report:#}");
    assert_eq!(states(&daemon).await, had);
    assert_eq!(daemon.attention().await, Vec::<serde_json::Value>::new());
    daemon.send(&peer.address().await, 70_000).await.ok();
    peer.wait_for_spendable(92_000).await;
    assert_conserved(&world, &[&daemon, &peer]).await;
}

/// Nothing is spent before all VTXOs are judged, and the operator learns why.
#[tokio::test]
async fn nothing_is_spent_before_an_older_database_is_reconciled() {
    let (world, mut daemon, peer) = older().await;
    let to = peer.address().await;
    daemon.stop().await;
    put_back(&daemon);
    let stuck = world
        .fault(json!({"target": "RecoverVtxosByXpub", "action": {"type": "delay", "ms": 600_000}}));
    daemon.restart(None).await;
    eventually("the recovery has begun", async || {
        (report(&daemon).await["holds_spends"] == true).then_some(())
    })
    .await;
    let raised = daemon.attention().await;
    assert_eq!(raised[0]["code"], "older_database", "{raised:#?}");
    let before = world.calls_of("RequestArkoorCosign");
    daemon
        .send(&to, 1_000)
        .await
        .refused(409, "recovery_running");
    let refresh = daemon.post_empty("/wallet/refresh/all").await;
    refresh.refused(409, "recovery_running");
    assert_eq!(world.calls_of("RequestArkoorCosign"), before);
    world.end_fault(stuck);
    daemon.kill().await;
    daemon.restart(None).await;
    daemon.wait_for_spendable(78_000).await;
    recovered(&daemon).await;
    daemon.send(&to, 1_000).await.ok();
    peer.wait_for_spendable(23_000).await;
    assert_conserved(&world, &[&daemon, &peer]).await;
}

/// A start on the newest database makes one call, and begins no recovery.
#[tokio::test]
async fn a_start_on_the_newest_database_asks_once() {
    let (world, mut daemon, _peer) = older().await;
    for expected in [None, Some(1)] {
        daemon.stop().await;
        let before = world.calls_of("ReadMailbox");
        daemon
            .restart_with(None, &[("BARK_DAEMON_MANUAL_SYNC", "true")])
            .await;
        daemon.wait_for_connected(true).await;
        daemon.post_empty("/wallet/sync").await.ok();
        // The sync reads the mailbox once.
        let made = world.calls_of("ReadMailbox") - before - 1;
        assert!(expected.is_none_or(|expected| made == expected), "{made}");
    }
    assert_eq!(report(&daemon).await, serde_json::Value::Null);
    assert_history_adds_up(&daemon).await;
}
