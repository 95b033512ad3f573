//! Refreshes, interactive and delegated.

use serde_json::json;

use super::matrix::{Case, Run};
use super::scene::{Scene, movements};
use crate::support::{Daemon, eventually};

/// What the victim has, in sat.
const FUNDS: u64 = 200_000;

/// A victim with two VTXOs, and a server that can fund rounds.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    scene.world.fund_server(2_000_000).await;
    fund(&scene).await;
    scene
}

async fn fund(scene: &Scene) {
    for sats in [150_000, FUNDS - 150_000] {
        scene.victim.fund_and_board(&scene.world, sats).await;
    }
}

/// Runs the round or mines the block that the refreshes under way wait for. Answers whether there is such a refresh; `None` when
/// the victim does not answer.
async fn advance(scene: &Scene) -> Option<bool> {
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
async fn advance_until_done(scene: &Scene) {
    eventually("the refresh is done", async || {
        let under_way = advance(scene).await.expect("the daemon answers");
        (!under_way).then_some(())
    })
    .await;
}

/// Runs rounds and mines blocks until the victim is killed, in a case that kills it.
async fn advance_until_killed(scene: &mut Scene, case: &Case) {
    if case.kills() {
        eventually("the victim is killed", async || {
            advance(scene).await;
            scene.is_killed().then_some(())
        })
        .await;
    }
}

/// Asserts that all VTXOs were swapped, and that all refreshes succeeded.
async fn assert_refreshed(scene: &Scene, old: &[String]) {
    scene.victim.wait_for_spendable(FUNDS).await;
    let new = scene.victim.vtxos().await;
    assert!(new.iter().all(|vtxo| !old.contains(vtxo)), "{new:?}");
    assert!(all_refreshes_succeeded(&scene.victim).await);
}

async fn all_refreshes_succeeded(daemon: &Daemon) -> bool {
    let refreshes = movements(daemon, "refresh").await;
    let success = ("successful".to_owned(), 0);
    refreshes.iter().all(|refresh| *refresh == success)
}

/// The victim refreshes all its VTXOs.
pub async fn refresh(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let old = scene.victim.vtxos().await;
        scene.post("/wallet/refresh/all", None).await;
        advance_until_killed(&mut scene, &case).await;
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        if case.kills_at("round.started.before") {
            assert_eq!(scene.victim.vtxos().await, old);
        } else {
            assert_refreshed(&scene, &old).await;
        }
    }
}

/// The server proposes a tree that is not what was asked for. The victim does not sign it, and joins the next round.
pub async fn refresh_missed(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let old = scene.victim.vtxos().await;
        let change = json!({"type": "alter_tree", "change": "wrong_amount"});
        scene.fault(json!({"target": "round.proposal", "times": 1, "action": change}));
        scene.post("/wallet/refresh/all", None).await;
        advance_until_killed(&mut scene, &case).await;
        if !case.kills() {
            advance_until_done(&scene).await;
        }
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        assert_refreshed(&scene, &old).await;
    }
}

/// The server refuses the chain of an input.
pub async fn refresh_refused(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let old = scene.victim.vtxos().await;
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        scene.fault(json!({"target": "RegisterVtxoTransactions", "action": refusal}));
        scene.post("/wallet/refresh/all", None).await;
        advance_until_killed(&mut scene, &case).await;
        if !case.kills() {
            advance_until_done(&scene).await;
        }
        scene.restart(&case).await;
        advance_until_done(&scene).await;
        let last = movements(&scene.victim, "refresh").await.swap_remove(0);
        if case.kills_at("round.aborted.before") {
            // The refusal was not stored, so the refresh has joined the next round.
            assert_eq!(last, ("successful".to_owned(), 0));
        } else {
            assert_eq!(last, ("failed".to_owned(), 0));
            assert_eq!(scene.victim.vtxos().await, old);
        }
        scene.victim.wait_for_spendable(FUNDS).await;
    }
}

/// The victim delegates a refresh to the server, and is not there when the round happens.
pub async fn delegate(run: &mut Run) {
    let mut scene = scene().await;
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_unregistered(&case).await;
        let old = scene.victim.vtxos().await;
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
        eventually("all VTXOs are new", async || {
            advance(&scene).await;
            let new = scene.victim.vtxos().await;
            (!new.is_empty() && new.iter().all(|vtxo| !old.contains(vtxo))).then_some(())
        })
        .await;
        advance_until_done(&scene).await;
        scene.victim.wait_for_spendable(FUNDS).await;
        scene.victim.settled().await;
    }
}

/// The victim spends an input of a refresh that it has delegated.
pub async fn delegate_shrunk(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.world.fund_server(2_000_000).await;
    fund(&scene).await;
    scene.victim.fund(&scene.world, 500_000).await;
    let (mut owned, mut paid) = (FUNDS, 0);
    while let Some(case) = run.next_case(&mut scene).await {
        let to = scene.peer().address().await;
        scene.victim.post_empty("/onchain/sync").await.ok();
        scene.victim.board(&scene.world, 50_000).await;
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
        (owned, paid) = (owned + 50_000 - 7_000, paid + 7_000);
        scene.peer().wait_for_spendable(paid).await;
        advance_until_done(&scene).await;
        scene.victim.wait_for_spendable(owned).await;
        assert!(all_refreshes_succeeded(&scene.victim).await);
    }
}
