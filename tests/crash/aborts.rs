//! Operations that end without effect, each way of which is visited by kills of its own: whatever they held is free again.

use serde_json::{Value, json};

use super::matrix::{Case, Run};
use super::rounds::{advance, advance_until_done, advance_until_killed, scene};
use super::scene::{Scene, assert_killed};
use crate::support::eventually;

/// The server's refusal of a call, which goes on until the case ends.
fn refusal(rpc: &str) -> Value {
    json!({"target": rpc, "action": {"type": "status", "code": 3, "message": "no"}})
}

/// What the victim has.
#[derive(Debug, PartialEq)]
struct Holdings {
    vtxos: Vec<String>,
    spendable: u64,
    onchain: Value,
}

impl Holdings {
    async fn of(scene: &Scene) -> Holdings {
        let onchain = scene.victim.get("/onchain/balance").await.ok();
        Holdings {
            vtxos: scene.victim.vtxos().await,
            spendable: scene.victim.balance("spendable_sat").await,
            onchain: onchain["total_sat"].clone(),
        }
    }
}

/// Asserts that the newest movement of a kind ended with this status and moved nothing, and that the victim has what it had.
async fn assert_ended(scene: &Scene, kind: &str, status: &str, before: &Holdings) {
    scene.victim.settled().await;
    let movement = scene.victim.movement(kind).await;
    assert_eq!(movement["status"], status, "{movement:#}");
    assert_eq!(movement["effective_balance_sat"], 0, "{movement:#}");
    assert_eq!(Holdings::of(scene).await, *before);
}

/// Sends the request of a refresh that cannot succeed, and runs rounds until the victim is killed or the refresh has ended.
async fn refresh_without_success(scene: &mut Scene, case: &Case, path: &str, vtxos: &[String]) {
    scene.post(path, json!({"vtxos": vtxos})).await;
    advance_until_killed(scene, case).await;
    if !case.kills() {
        advance_until_done(scene).await;
    }
    scene.restart_with_faults(case).await;
    advance_until_done(scene).await;
}

/// The server refuses the chains of the inputs of a refresh.
pub async fn refresh_upload_refused(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let before = Holdings::of(&scene).await;
        scene.fault(refusal("RegisterVtxoTransactions"));
        let path = "/wallet/refresh/vtxos";
        refresh_without_success(&mut scene, &case, path, &before.vtxos).await;
        assert_ended(&scene, "refresh", "failed", &before).await;
        scene.end_faults();
    }
}

/// The server proposes a wrong tree in each attempt, until the refresh is given up.
pub async fn refresh_given_up(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let before = Holdings::of(&scene).await;
        let change = json!({"type": "alter_tree", "change": "wrong_amount"});
        scene.fault(json!({"target": "round.proposal", "action": change}));
        let path = "/wallet/refresh/vtxos";
        refresh_without_success(&mut scene, &case, path, &before.vtxos).await;
        assert_ended(&scene, "refresh", "failed", &before).await;
        scene.world.forget_missed_rounds();
        scene.end_faults();
    }
}

/// The inputs of a refresh are spent before a round begins.
pub async fn refresh_without_inputs(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.world.fund_server(2_000_000).await;
    scene.victim.fund(&scene.world, 500_000).await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.victim.board(&scene.world, 50_000).await;
        scene.victim.post_empty("/onchain/sync").await.ok();
        let to = scene.peer().address().await;
        scene.arm(&case).await;
        scene.post("/wallet/refresh/all", None).await;
        let all = scene.victim.balance("spendable_sat").await;
        scene.victim.send(&to, all).await.ok();
        scene.victim.wait_for_spendable(0).await;
        let before = Holdings::of(&scene).await;
        advance_until_killed(&mut scene, &case).await;
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        assert_ended(&scene, "refresh", "canceled", &before).await;
    }
}

/// The server refuses a delegated refresh.
pub async fn delegate_refused(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let before = Holdings::of(&scene).await;
        scene.fault(refusal("SubmitRoundParticipation"));
        let path = "/wallet/refresh/delegated/vtxos";
        refresh_without_success(&mut scene, &case, path, &before.vtxos).await;
        assert_ended(&scene, "refresh", "failed", &before).await;
        scene.end_faults();
    }
}

/// The server has no record of a delegated refresh, however often it is submitted.
pub async fn delegate_forgotten(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let before = Holdings::of(&scene).await;
        scene.fault(json!({"target": "round.status", "action": {"type": "not_found"}}));
        let path = "/wallet/refresh/delegated/vtxos";
        let body = json!({"vtxos": before.vtxos});
        scene.post(path, body).await;
        if case.kills() {
            eventually("the victim is killed", async || {
                let _ = scene.victim.try_send("POST", "/wallet/sync", None).await;
                scene.is_killed().then_some(())
            })
            .await;
        }
        scene.restart_with_faults(&case).await;
        scene.victim.wait_without_rounds().await;
        assert_ended(&scene, "refresh", "failed", &before).await;
        scene.end_faults();
    }
}

/// The server double-spends a round's transaction before anything is forfeited. Each case has a world of its own, because the
/// server's ledger is wrong after that.
pub async fn round_double_spent(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene = self::scene().await.with_wrong_ledger();
        scene.arm(&case).await;
        let before = Holdings::of(&scene).await;
        let withheld =
            json!({"target": "RequestLeafVtxoCosign", "action": {"type": "drop_before"}});
        scene.fault(withheld);
        let body = json!({"vtxos": before.vtxos});
        scene.post("/wallet/refresh/vtxos", body).await;
        eventually("the leaf is asked for", async || {
            advance(&scene).await;
            (scene.world.calls_of("RequestLeafVtxoCosign") > 0).then_some(())
        })
        .await;
        let rounds = scene.victim.rounds().await;
        let txid = rounds[0]["funding_txid"].as_str().unwrap();
        scene.world.double_spend(txid).await;
        if case.kills() {
            eventually("the victim is killed", async || {
                let _ = scene.victim.try_send("POST", "/wallet/sync", None).await;
                scene.is_killed().then_some(())
            })
            .await;
        } else {
            scene.victim.wait_without_rounds().await;
        }
        scene.restart(&case).await;
        scene.victim.wait_without_rounds().await;
        assert_ended(&scene, "refresh", "failed", &before).await;
        assert_eq!(scene.world.calls_of("ForfeitVtxos"), 0);
    }
}

/// The server refuses the chains of the inputs of a payment.
pub async fn pay_upload_refused(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.victim.address().await;
        scene.arm_unregistered(&case).await;
        let before = Holdings::of(&scene).await;
        scene.fault(refusal("RegisterVtxoTransactions"));
        let body = json!({"destination": to, "amount_sat": 7_000});
        post_without_success(&mut scene, &case, "/wallet/send", body).await;
        assert_ended(&scene, "send", "failed", &before).await;
        scene.end_faults();
    }
}

/// The server refuses to propose an offboard's transaction, or the chains of its inputs.
pub async fn offboard_refused(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        for rpc in ["RegisterVtxoTransactions", "PrepareOffboard"] {
            scene.arm_unregistered(&case).await;
            let before = Holdings::of(&scene).await;
            scene.fault(refusal(rpc));
            let to = scene.payee();
            let body = json!({"vtxos": [before.vtxos[0]], "address": to});
            post_without_success(&mut scene, &case, "/wallet/offboard/vtxos", body).await;
            assert_ended(&scene, "offboard", "failed", &before).await;
            scene.assert_paid(to, None).await;
            scene.end_faults();
        }
    }
}

/// Sends a request that the server refuses.
async fn post_without_success(scene: &mut Scene, case: &Case, path: &str, body: Value) {
    let reply = scene.post(path, body).await;
    scene.wait_for_kill(case).await;
    match reply {
        Some(reply) => drop(reply.refused(409, "server_refused")),
        None => assert!(case.kills()),
    }
    scene.restart_with_faults(case).await;
}

/// The victim dies before it broadcasts a board's transaction, and comes back when the board is about to expire.
pub async fn board_expired(run: &mut Run) {
    let mut scene = Scene::new().await;
    scene.victim.fund(&scene.world, 100_000).await;
    while let Some(case) = run.next_case(&mut scene).await {
        let before = Holdings::of(&scene).await;
        scene.victim.stop().await;
        scene.victim.restart(Some("board.cosigned.after")).await;
        scene.victim.wait_for_connected(true).await;
        let body = json!({"amount_sat": 20_000});
        assert!(scene.post("/boards/board-amount", body).await.is_none());
        assert_killed(scene.victim.wait_for_exit().await);
        scene.world.mine(425).await;
        scene.arm_from_start(&case).await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        scene.victim.wait_for_tip(&scene.world).await;
        assert_ended(&scene, "board", "failed", &before).await;
    }
}
