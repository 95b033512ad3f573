//! Boards whose server or whose delay would cost the coins.

use serde_json::json;

use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn a_board_that_the_server_never_signs_correctly_ends_and_its_coins_are_free() {
    // H52: an invalid signature counts as a failure.
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    world.fault(json!({"target": "board.cosign", "action": {"type": "wrong_signature"}}));
    let reply = daemon
        .post("/boards/board-amount", json!({"amount_sat": 40_000}))
        .await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(world.faults_fired("board.cosign") > 1, "it was tried again");
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([]));
    assert_eq!(daemon.history().await[0]["status"], "failed");

    world.no_faults();
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 40_000}))
        .await
        .ok();
    world.mine(1).await;
    daemon.wait_for_spendable(40_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_board_that_would_expire_too_soon_is_not_broadcast() {
    // H53: the daemon is down between the signature and the broadcast, until the server may take the output.
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    daemon.stop().await;
    daemon.restart(Some("board.cosigned.after")).await;
    daemon.wait_for_connected(true).await;
    let body = Some(json!({"amount_sat": 40_000}));
    let killed = daemon.try_send("POST", "/boards/board-amount", body).await;
    assert!(killed.is_err(), "{killed:?}");
    daemon.wait_for_exit().await;
    world.mine(420).await;

    daemon.restart(None).await;
    eventually("the board has failed", async || {
        (daemon.history().await[0]["status"] == "failed").then_some(())
    })
    .await;
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([]));
    world.mine(1).await;
    daemon.post_empty("/onchain/sync").await.ok();
    let onchain = daemon.get("/onchain/balance").await.ok();
    assert_eq!(onchain["confirmed_sat"], 50_000, "nothing was broadcast");
    assert_conserved(&world, &[&daemon]).await;
}
