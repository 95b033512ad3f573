//! The mailbox as a real server serves it: pages that end within a message, refused streams, and clocks that differ.

use arkwalletd_sandbox::ark::Params;
use serde_json::json;

use crate::support::{Daemon, World, assert_conserved, eventually};

/// A payer with so many VTXOs of 10 000 sat, and a stopped payee with its address.
async fn scene(params: Params, vtxos: usize) -> (World, Daemon, Daemon, String) {
    let world = World::with(params).await;
    let payer = Daemon::with_wallet(&world).await;
    for _ in 0..vtxos {
        payer.fund_and_board(&world, 10_000).await;
    }
    let mut payee = Daemon::with_wallet(&world).await;
    let to = payee.address().await;
    payee.stop().await;
    (world, payer, payee, to)
}

#[tokio::test]
async fn a_payment_that_a_page_cuts_arrives_whole() {
    // A page has three VTXOs, and each payment two.
    let params = Params {
        max_read_mailbox_items: 3,
        ..Params::free()
    };
    let (world, payer, mut payee, to) = scene(params, 6).await;
    for _ in 0..3 {
        payer.send(&to, 20_000).await.ok();
    }
    payee.restart(None).await;
    payee.wait_for_spendable(60_000).await;
    let receipts = payee.history().await;
    assert_eq!(receipts.len(), 3, "one for each payment: {receipts:#?}");
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn payments_arrive_through_a_proxy_that_refuses_streams() {
    // H58
    let (world, payer, mut payee, to) = scene(Params::free(), 1).await;
    let refused = json!({"type": "status", "code": 12, "message": "no streams"});
    for stream in ["SubscribeMailbox", "SubscribeRounds"] {
        world.fault(json!({"target": stream, "action": refused}));
    }
    payer.send(&to, 7_000).await.ok();
    let events = world.calls_of("LastRoundEvent");
    payee.restart(None).await;
    payee.wait_for_spendable(7_000).await;
    eventually("round events are polled", async || {
        (world.calls_of("LastRoundEvent") > events).then_some(())
    })
    .await;
    for stream in ["SubscribeMailbox", "SubscribeRounds"] {
        assert!(world.faults_fired(stream) > 0, "{stream}");
    }
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn payments_arrive_with_a_slow_clock_which_is_shown() {
    // H58: the proof that opens a stream lives ten seconds, that of a poll ten minutes.
    let (world, payer, mut payee, to) = scene(Params::free(), 1).await;
    world.fault(json!({"target": "clock", "action": {"type": "skew_clock", "seconds": 60}}));
    payer.send(&to, 7_000).await.ok();
    payee.restart(None).await;
    payee.wait_for_spendable(7_000).await;
    let attention = async || payee.get("/wallet").await.ok()["attention"].clone();
    let shown = eventually("the skew is shown", async || {
        attention()
            .await
            .as_array()
            .and_then(|list| list.first().cloned())
    })
    .await;
    assert_eq!(shown["code"], "clock_skew");
    let message = shown["message"].as_str().unwrap();
    assert!(
        message.contains("seconds behind the clock of the Ark server"),
        "{message}"
    );
    assert!(world.faults_fired("clock") > 0);
    world.no_faults();
    eventually("it is shown no longer", async || {
        (attention().await == json!([])).then_some(())
    })
    .await;
    assert_eq!(
        payee.log().matches("clock_skew").count(),
        2,
        "shown and cleared"
    );
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn one_recovery_id_that_is_refused_does_not_undo_the_others() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    world.fault(json!({"target": "PostRecoveryVtxoIds", "action": {"type": "drop_before"}}));
    for _ in 0..3 {
        daemon.fund_and_board(&world, 10_000).await;
    }
    daemon.stop().await;
    world.no_faults();
    let unknown =
        json!({"type": "status", "code": 13, "message": "violates foreign key constraint"});
    world.fault(json!({"target": "PostRecoveryVtxoIds", "times": 1, "action": unknown}));
    daemon
        .restart_with(None, &[("BARK_DAEMON_MANUAL_SYNC", "true")])
        .await;
    daemon.wait_for_connected(true).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(world.faults_fired("PostRecoveryVtxoIds"), 1);
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let posted = || {
        let count = "SELECT count(*) FROM vtxo WHERE backed_up = 1";
        database
            .query_row(count, [], |row| row.get::<_, u32>(0))
            .unwrap()
    };
    assert_eq!(posted(), 2);
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(posted(), 3);
}
