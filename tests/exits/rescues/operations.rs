//! Boards that the server does not register, and payments that it does not answer.

use serde_json::json;

use super::scene;
use crate::support::{Daemon, assert_history_adds_up, eventually};

/// Blocks that a VTXO of a board lives.
const LIFETIME: u32 = 432;

/// H53: a board that the server does not register is exited before it expires, and the board counts as done.
#[tokio::test]
async fn a_board_that_the_server_never_registers_is_exited_in_time() {
    let (world, daemon) = scene().await;
    let down = json!({"type": "drop_before"});
    let fault = world.fault(json!({"target": "RegisterBoardVtxo", "action": down}));
    daemon.fund(&world, 60_000).await;
    let boarded = world.height().await;
    let body = json!({"amount_sat": 20_000});
    daemon.post("/boards/board-amount", body).await.ok();
    world.mine(1).await;
    let pending = daemon.get("/boards/pending").await.ok();
    let vtxo = pending[0]["vtxos"][0]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(!vtxo.is_empty(), "{pending:#}");
    daemon.mine_to(&world, boarded + LIFETIME - 20).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(!daemon.exits("all").await.contains(&vtxo));
    daemon.mine_to(&world, boarded + LIFETIME - 12).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    assert!(world.height().await < boarded + LIFETIME);
    eventually("the board is over", async || {
        let pending = daemon.get("/boards/pending").await.ok();
        pending.as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    assert_eq!(daemon.movement("board").await["status"], "successful");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert!(world.fired(fault) > 0);
}

/// A payment whose signature the server never answers: its input can be exited, and the payment ends when it is on chain.
#[tokio::test]
async fn the_input_of_a_payment_that_the_server_never_answers_can_be_exited() {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    let payee = Daemon::with_wallet(&world).await;
    let to = payee.address().await;
    let lost = json!({"target": "RequestArkoorCosign", "action": {"type": "drop_after"}});
    let lost = world.fault(lost);
    let (reply, ()) = tokio::join!(daemon.send(&to, 20_000), async {
        eventually(
            "the server has signed, and the answer is lost",
            async || (world.fired(lost) > 1).then_some(()),
        )
        .await;
        let begun = daemon.exit(std::slice::from_ref(&vtxo)).await;
        assert_eq!(begun["started"], json!([vtxo]), "{begun:#}");
        daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
        eventually("the payment has ended", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            (daemon.movement("send").await["status"] == "failed").then_some(())
        })
        .await;
    });
    assert!(matches!(reply.status, 202 | 409), "{reply:?}");
    daemon.claim_all_when_ripe(&world, &vtxo).await;
    assert_eq!(daemon.balance("pending_arkoor_send_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(payee.balance("spendable_sat").await, 0);
    assert!(payee.history().await.is_empty());
    assert_history_adds_up(&daemon).await;
}

/// The same near the expiry, without a request.
#[tokio::test]
async fn the_input_of_a_payment_that_the_server_never_answers_is_exited_in_time() {
    let (world, daemon) = scene().await;
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    let own = daemon.address().await;
    let lost = json!({"target": "RequestArkoorCosign", "action": {"type": "drop_after"}});
    world.fault(lost);
    daemon.send(&own, 20_000).await;
    daemon.mine_to(&world, expiry - 20).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(daemon.exits("all").await.is_empty());
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "claimable").await;
    eventually("the payment has ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.movement("send").await["status"] == "failed").then_some(())
    })
    .await;
}

/// What begins by itself begins again after a kill, and what it ends is ended once.
#[tokio::test]
async fn a_board_is_exited_in_time_by_a_daemon_that_is_killed() {
    for point in ["exit.started", "board.registered"] {
        for moment in ["before", "after"] {
            let (world, mut daemon) = scene().await;
            let down = json!({"type": "drop_before"});
            world.fault(json!({"target": "RegisterBoardVtxo", "action": down}));
            daemon.fund(&world, 60_000).await;
            let boarded = world.height().await;
            let body = json!({"amount_sat": 20_000});
            daemon.post("/boards/board-amount", body).await.ok();
            world.mine(1).await;
            let pending = daemon.get("/boards/pending").await.ok();
            let vtxo = pending[0]["vtxos"][0].as_str().expect("one").to_owned();
            daemon.mine_to(&world, boarded + LIFETIME - 20).await;
            daemon.stop().await;
            let failpoint = format!("{point}.{moment}");
            daemon.restart(Some(&failpoint)).await;
            daemon.mine_until_killed(&world, 19).await;
            daemon.restart(None).await;
            eventually("the board is over", async || {
                daemon.progress().await;
                daemon.next_block(&world).await;
                daemon.post_empty("/wallet/sync").await.ok();
                let boards = daemon.get("/boards/pending").await.ok();
                boards.as_array().is_some_and(Vec::is_empty).then_some(())
            })
            .await;
            assert_eq!(daemon.movement("board").await["status"], "successful");
            assert_eq!(daemon.vtxo_state(&vtxo).await, "exited", "{failpoint}");
            assert_eq!(
                daemon
                    .exits("all")
                    .await
                    .iter()
                    .filter(|it| **it == vtxo)
                    .count(),
                1,
                "{failpoint}"
            );
            daemon.claim_all_when_ripe(&world, &vtxo).await;
            assert_history_adds_up(&daemon).await;
        }
    }
}
