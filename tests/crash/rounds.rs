//! Refreshes, interactive and delegated.

use serde_json::json;

use super::matrix::{Case, Run};
use super::scene::{Scene, last_fee};
use crate::support::{Daemon, eventually};

/// A victim with two VTXOs, and a server that can fund rounds.
pub async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    fund(&scene).await;
    scene
}

async fn fund(scene: &Scene) {
    for sats in [150_000, 50_000] {
        scene.victim.fund_and_board(&scene.world, sats).await;
    }
}

/// What the victim can spend, in sat.
async fn spendable(scene: &Scene) -> u64 {
    scene.victim.balance("spendable_sat").await
}

/// Runs the round or mines the block that the refreshes under way wait for. Answers whether there is such a refresh; `None` when
/// the victim does not answer.
pub async fn advance(scene: &Scene) -> Option<bool> {
    let rounds = scene.victim.try_send("GET", "/wallet/rounds", None).await;
    let rounds = rounds.ok()?.ok();
    let rounds = rounds.as_array().unwrap();
    let any = |state: &str| rounds.iter().any(|round| round["state"] == state);
    if any("pending") || any("delegated-pending") {
        scene.world.round().await;
    }
    let mempool = scene.world.sandbox.chain.mempool().await.unwrap();
    if !mempool.is_empty() && any("awaiting-confirmations") {
        scene.world.mine(1).await;
    }
    let sync = scene.victim.try_send("POST", "/wallet/sync", None).await;
    sync.ok()?;
    Some(!rounds.is_empty())
}

/// Runs rounds and mines blocks until no refresh is under way.
pub async fn advance_until_done(scene: &Scene) {
    eventually("the refresh is done", async || {
        let under_way = advance(scene).await.expect("the daemon answers");
        (!under_way).then_some(())
    })
    .await;
}

/// Runs rounds and mines blocks until the victim is killed, in a case that kills it.
pub async fn advance_until_killed(scene: &mut Scene, case: &Case) {
    if case.kills() {
        eventually("the victim is killed", async || {
            advance(scene).await;
            scene.is_killed().then_some(())
        })
        .await;
    }
}

/// Asserts that all VTXOs were swapped for others of this total less the fee, and that all refreshes succeeded.
async fn assert_refreshed(scene: &Scene, old: &[String], owned: u64) {
    assert_all_refreshes_succeeded(&scene.victim).await;
    let left = owned - last_fee(&scene.victim, "refresh").await;
    scene.victim.wait_for_spendable(left).await;
    let new = scene.victim.vtxos().await;
    assert!(new.iter().all(|vtxo| !old.contains(vtxo)), "{new:?}");
}

/// Asserts that each refresh succeeded and cost its fee and no more.
async fn assert_all_refreshes_succeeded(daemon: &Daemon) {
    daemon.settled().await;
    for movement in daemon.history().await {
        if movement["subsystem"]["kind"] == "refresh" {
            assert_eq!(movement["status"], "successful", "{movement:#}");
            let fee = movement["offchain_fee_sat"].as_i64().unwrap();
            assert!(fee > 0, "{movement:#}");
            assert_eq!(movement["effective_balance_sat"], -fee, "{movement:#}");
        }
    }
}

/// The victim refreshes all its VTXOs.
pub async fn refresh(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let (old, owned) = (scene.victim.vtxos().await, spendable(&scene).await);
        scene.post("/wallet/refresh/all", None).await;
        advance_until_killed(&mut scene, &case).await;
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        if case.kills_at("round.started.before") {
            assert_eq!(scene.victim.vtxos().await, old);
        } else {
            assert_refreshed(&scene, &old, owned).await;
        }
    }
}

/// The server proposes a tree that is not what was asked for. The victim does not sign it, and joins the next round.
pub async fn refresh_missed(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let (old, owned) = (scene.victim.vtxos().await, spendable(&scene).await);
        let change = json!({"type": "alter_tree", "change": "wrong_amount"});
        scene.fault(json!({"target": "round.proposal", "times": 1, "action": change}));
        scene.post("/wallet/refresh/all", None).await;
        advance_until_killed(&mut scene, &case).await;
        if !case.kills() {
            advance_until_done(&scene).await;
        }
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        assert_refreshed(&scene, &old, owned).await;
    }
}

/// The server refuses the chain of an input.
pub async fn refresh_refused(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let (old, owned) = (scene.victim.vtxos().await, spendable(&scene).await);
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        scene.fault(json!({"target": "RegisterVtxoTransactions", "action": refusal}));
        scene.post("/wallet/refresh/all", None).await;
        advance_until_killed(&mut scene, &case).await;
        if !case.kills() {
            advance_until_done(&scene).await;
        }
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        scene.victim.settled().await;
        let last = scene.victim.movement("refresh").await;
        if case.kills_at("round.aborted.before") {
            // The refusal was not stored, so the refresh has joined the next round.
            assert_eq!(last["status"], "successful");
            let left = owned - last_fee(&scene.victim, "refresh").await;
            scene.victim.wait_for_spendable(left).await;
        } else {
            assert_eq!(last["status"], "failed");
            assert_eq!(last["effective_balance_sat"], 0);
            assert_eq!(scene.victim.vtxos().await, old);
            scene.victim.wait_for_spendable(owned).await;
        }
    }
}

/// The victim delegates a refresh to the server, and is not there when the round happens.
pub async fn delegate(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let (old, owned) = (scene.victim.vtxos().await, spendable(&scene).await);
        let body = json!({"vtxos": old});
        scene.post("/wallet/refresh/delegated/vtxos", body).await;
        advance_until_killed(&mut scene, &case).await;
        scene.world.round().await;
        scene.restart(&case).await;
        if case.kills_at("round.started.before") {
            assert_eq!(scene.victim.vtxos().await, old);
            continue;
        }
        // The mailbox tells of the round, if the victim does not know of it.
        advance_until_new(&scene, &old, owned).await;
    }
}

/// Runs rounds and mines blocks until all VTXOs are new and nothing is under way.
async fn advance_until_new(scene: &Scene, old: &[String], owned: u64) {
    eventually("all VTXOs are new", async || {
        advance(scene).await;
        let new = scene.victim.vtxos().await;
        (!new.is_empty() && new.iter().all(|vtxo| !old.contains(vtxo))).then_some(())
    })
    .await;
    advance_until_done(scene).await;
    assert_refreshed(scene, old, owned).await;
}

/// The victim delegates a refresh and gets no answer; the mailbox tells of the round.
pub async fn delegate_reported(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let (old, owned) = (scene.victim.vtxos().await, spendable(&scene).await);
        let lost = json!({"type": "drop_after"});
        let lost = scene.fault(json!({"target": "SubmitRoundParticipation", "action": lost}));
        let (path, body) = ("/wallet/refresh/delegated/vtxos", json!({"vtxos": old}));
        let delegated = async || scene.world.fired(lost) > 0;
        scene.victim.post_and_leave(path, body, delegated).await;
        scene.world.round().await;
        scene.wait_for_kill(&case).await;
        scene.restart_with_faults(&case).await;
        advance_until_new(&scene, &old, owned).await;
        assert!(scene.world.fired(lost) > 0);
    }
}

/// The server drops the victim's participation twice, so that the victim learns of it also if an answer is lost. The victim
/// delegates again.
pub async fn delegate_dropped(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let (old, owned) = (scene.victim.vtxos().await, spendable(&scene).await);
        let dropped = json!({"type": "not_found"});
        let rule = json!({"target": "round.status", "times": 2, "action": dropped});
        let dropped = scene.fault(rule);
        let body = json!({"vtxos": old});
        scene.post("/wallet/refresh/delegated/vtxos", body).await;
        eventually("the participation is dropped", async || {
            (scene.world.fired(dropped) > 0).then_some(())
        })
        .await;
        advance_until_killed(&mut scene, &case).await;
        scene.restart(&case).await;
        advance_until_new(&scene, &old, owned).await;
    }
}

/// The victim spends an input of a refresh that it has delegated.
pub async fn delegate_shrunk(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.world.fund_server(2_000_000).await;
    fund(&scene).await;
    scene.victim.fund(&scene.world, 500_000).await;
    let mut paid = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.peer().address().await;
        scene.victim.post_empty("/onchain/sync").await.ok();
        scene.victim.board(&scene.world, 50_000).await;
        let owned = spendable(&scene).await;
        scene.arm(&case).await;
        let body = json!({"vtxos": scene.victim.vtxos().await});
        let delegated = scene.post("/wallet/refresh/delegated/vtxos", body).await;
        delegated.expect("the victim is not killed yet").ok();
        let payment = json!({"destination": to, "amount_sat": 7_000});
        scene.post("/wallet/send", payment).await;
        if case.kills() {
            eventually("the victim is killed", async || {
                let _ = scene.victim.try_send("POST", "/wallet/sync", None).await;
                scene.is_killed().then_some(())
            })
            .await;
        }
        scene.restart(&case).await;
        paid += 7_000;
        scene.peer().wait_for_spendable(paid).await;
        advance_until_done(&scene).await;
        assert_all_refreshes_succeeded(&scene.victim).await;
        let fee = last_fee(&scene.victim, "refresh").await;
        scene.victim.wait_for_spendable(owned - 7_000 - fee).await;
    }
}
