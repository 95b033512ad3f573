//! VTXOs near their expiry: the daemon refreshes them automatically.

use arkwalletd_sandbox::ark::VtxoState;
use serde_json::json;

use crate::support::{Daemon, World, assert_conserved, eventually, rounds_of};

/// The height at which a VTXO expires.
async fn expiry(daemon: &Daemon, id: &str) -> u32 {
    let detail = daemon.get(&format!("/wallet/vtxos/{id}")).await.ok();
    let height = detail["expiry_height"].as_u64();
    height.expect("a height").try_into().unwrap()
}

/// The daemon gets no request between the board and the end of the refresh.
#[tokio::test]
async fn a_vtxo_near_its_expiry_is_refreshed_automatically() {
    let world = World::with(rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let old = daemon.vtxos().await.remove(0);
    let expiry = expiry(&daemon, &old).await;
    assert!(!world.round().await, "nothing is due yet");
    world.mine(expiry - 10 - world.height().await).await;
    world.successful_round().await;
    world.mine(1).await;
    eventually("the server has the old VTXO", async || {
        let record = world.sandbox.ark.vtxo(old.parse().unwrap()).unwrap();
        (record.unwrap().state == VtxoState::Spent).then_some(())
    })
    .await;
    daemon.wait_without_rounds().await;
    assert!(!daemon.vtxos().await.contains(&old));
    assert_eq!(daemon.movement("refresh").await["status"], "successful");
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn an_expired_vtxo_needs_a_refresh_and_gets_it() {
    let world = World::with(rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let old = daemon.vtxos().await.remove(0);
    let expiry = expiry(&daemon, &old).await;
    world.mine(expiry - world.height().await).await;
    daemon.wait_for_tip(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("needs_refresh_sat").await, 50_000);
    daemon
        .send(&daemon.address().await, 1_000)
        .await
        .refused(400, "insufficient_funds");
    world.successful_round().await;
    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("needs_refresh_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_conserved(&world, &[&daemon]).await;
}

/// docs/protocol.md §27: a refused input of an automatic refresh is left out within the same round; one failed and one
/// successful movement report it.
#[tokio::test]
async fn a_refused_vtxo_does_not_hold_up_the_automatic_refresh_of_others() {
    let world = World::with(rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    for sats in [50_000, 40_000] {
        daemon.fund_and_board(&world, sats).await;
    }
    let old = daemon.vtxos().await;
    let (refused, other) = (&old[0], &old[1]);
    let last = expiry(&daemon, refused)
        .await
        .max(expiry(&daemon, other).await);
    world.mine(last - 8 - world.height().await).await;
    daemon.wait_for_tip(&world).await;
    let refusal =
        json!({"type": "status", "code": 3, "message": "not spendable", "identifiers": [refused]});
    world.fault(json!({"target": "SubmitPayment", "times": 1, "action": refusal}));
    world.successful_round().await;
    daemon.finish_round(&world).await;
    let held = daemon.vtxos().await;
    assert!(held.contains(refused) && !held.contains(other), "{held:?}");
    let history = daemon.history().await;
    let (newest, second) = (&history[0], &history[1]);
    assert_eq!(newest["subsystem"]["kind"], "refresh");
    assert_eq!(newest["status"], "successful");
    assert_eq!(newest["input_vtxos"], json!([other]));
    assert_eq!(second["subsystem"]["kind"], "refresh");
    assert_eq!(second["status"], "failed");
    assert_conserved(&world, &[&daemon]).await;
}
