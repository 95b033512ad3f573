//! Recoveries from the seed, and of an older database.

use std::collections::BTreeSet;

use serde_json::json;

use super::matrix::{Case, Run};
use super::rounds;
use super::scene::Scene;
use crate::recovery::{
    backed_up, copy_database, mnemonic, put_back, recovered, restoration, states,
};
use crate::support::{Daemon, assert_history_adds_up};

/// What the victim boards, in sat.
const FUNDS: u64 = 200_000;

/// A victim that has boarded, paid and received, and its peer.
async fn used() -> Scene {
    let scene = Scene::with_peer().await;
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    let to = scene.peer().address().await;
    scene.victim.send(&to, 50_000).await.ok();
    scene.peer().wait_for_spendable(50_000).await;
    let to = scene.victim.address().await;
    scene.peer().send(&to, 20_000).await.ok();
    let sats = FUNDS - 330 - 30_000;
    scene.victim.wait_for_spendable(sats).await;
    backed_up(&scene.victim).await;
    // The history of the restored wallet begins with its recovery.
    scene.with_wrong_ledger()
}

/// Restores the victim from its seed, and asserts that it has again what it had.
async fn restore(scene: &mut Scene, case: &Case, words: &str, had: &BTreeSet<(String, String)>) {
    let request = restoration(&scene.world, words);
    let reply = scene
        .victim
        .try_send("POST", "/wallet/create", Some(request))
        .await;
    // The answer does not wait for a recovery whose server is away.
    assert!(case.kills() || reply.is_ok(), "{reply:?}");
    scene.wait_for_kill(case).await;
    scene.restart(case).await;
    let report = recovered(&scene.victim).await;
    assert_eq!(states(&scene.victim).await, *had, "{report:#}");
    assert_history_adds_up(&scene.victim).await;
}

/// The victim is restored from its seed.
pub async fn recover(run: &mut Run) {
    let mut scene = used().await;
    let (words, had) = (mnemonic(&scene.victim), states(&scene.victim).await);
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_anew(&case).await;
        restore(&mut scene, &case, &words, &had).await;
    }
}

/// The victim is restored while a round that it has delegated is not complete.
pub async fn recover_round(run: &mut Run) {
    let mut scene = rounds::scene().await.with_wrong_ledger();
    while let Some(case) = run.next_case(&mut scene).await {
        backed_up(&scene.victim).await;
        let had = scene.victim.vtxos().await;
        let owned = scene.victim.balance("spendable_sat").await;
        let body = json!({"vtxos": had});
        let path = "/wallet/refresh/delegated/vtxos";
        scene.victim.post(path, body).await.ok();
        let words = mnemonic(&scene.victim);
        scene.victim.stop().await;
        scene.world.successful_round().await;
        scene.world.mine(1).await;
        // The former one must not complete the round by itself.
        scene.victim = Daemon::start().await;
        scene.arm_anew(&case).await;
        let request = restoration(&scene.world, &words);
        let reply = scene
            .victim
            .try_send("POST", "/wallet/create", Some(request))
            .await;
        // The answer does not wait for a recovery whose server is away.
        assert!(case.kills() || reply.is_ok(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        recovered(&scene.victim).await;
        scene.victim.settled().await;
        let fee = scene.victim.movement("refresh").await["offchain_fee_sat"]
            .as_u64()
            .unwrap();
        scene.victim.wait_for_spendable(owned - fee).await;
        assert!(
            scene
                .victim
                .vtxos()
                .await
                .iter()
                .all(|new| !had.contains(new))
        );
        assert_history_adds_up(&scene.victim).await;
    }
}

/// The server lists the victim's VTXOs in a state that the victim does not know, and tells the truth later.
pub async fn recover_doubt(run: &mut Run) {
    let mut scene = used().await;
    let (words, had) = (mnemonic(&scene.victim), states(&scene.victim).await);
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm_anew(&case).await;
        let lie = json!({"type": "alter_recovery", "change": "new_state"});
        // An answer that is lost is asked for again.
        scene.fault(json!({"target": "recovery.page", "times": 4, "action": lie}));
        restore(&mut scene, &case, &words, &had).await;
    }
}

/// The victim starts on a database that is older than its last payment.
pub async fn recover_older(run: &mut Run) {
    let mut scene = Scene::with_peer().await;
    scene.victim.fund_and_board(&scene.world, FUNDS).await;
    let mut paid = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        backed_up(&scene.victim).await;
        scene.victim.stop().await;
        copy_database(&scene.victim);
        scene.victim.restart(None).await;
        scene.victim.wait_for_connected(true).await;
        let to = scene.peer().address().await;
        scene.victim.send(&to, 5_000).await.ok();
        paid += 5_000;
        backed_up(&scene.victim).await;
        let had = states(&scene.victim).await;
        scene.victim.stop().await;
        put_back(&scene.victim);
        scene.arm_from_start(&case).await;
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        scene.victim.wait_for_spendable(FUNDS - 330 - paid).await;
        recovered(&scene.victim).await;
        assert_eq!(states(&scene.victim).await, had);
        assert_history_adds_up(&scene.victim).await;
    }
}
