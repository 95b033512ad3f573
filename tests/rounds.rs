//! Rounds that a daemon misses, leaves, or is refused in: what it does about them after a restart and in the next round.

use std::time::Duration;

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, charging_rounds_of, eventually, rounds_of};

/// A daemon with one VTXO for each of these boards.
async fn boarded(world: &World, boards: &[u64]) -> Daemon {
    let daemon = Daemon::with_wallet(world).await;
    for sats in boards {
        daemon.fund_and_board(world, *sats).await;
    }
    daemon
}

/// Waits until the only refresh under way has this state.
async fn wait_for_state(daemon: &Daemon, state: &str) {
    eventually(&format!("the refresh is {state}"), async || {
        let rounds = daemon.rounds().await;
        (rounds.len() == 1 && rounds[0]["state"] == state).then_some(())
    })
    .await;
}

/// The movements of all refreshes, newest first.
async fn refreshes(daemon: &Daemon) -> Vec<Value> {
    let history = daemon.history().await.into_iter();
    history
        .filter(|movement| movement["subsystem"]["kind"] == "refresh")
        .collect()
}

/// The only refresh succeeded, and the old VTXO is not held any more.
async fn assert_refreshed_once(daemon: &Daemon, old: &str) {
    assert!(!daemon.vtxos().await.contains(&old.to_owned()));
    let refreshes = refreshes(daemon).await;
    assert_eq!(refreshes.len(), 1, "{refreshes:#?}");
    assert_eq!(refreshes[0]["status"], "successful");
}

/// W13: the daemon has signed, and does not hear of the end of the round before it stops.
#[tokio::test]
async fn a_round_that_ends_without_the_daemon_is_completed_after_its_restart() {
    let world = World::with(rounds_of(1)).await;
    let mut daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await.remove(0);
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "round.finished", "times": 1, "action": withhold}));
    let drop = json!({"type": "drop_before"});
    world.fault(json!({"target": "RoundParticipationStatus", "action": drop}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    wait_for_state(&daemon, "ongoing").await;
    daemon.stop().await;
    world.no_faults();
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    daemon.finish_round(&world).await;
    assert_refreshed_once(&daemon, &old).await;
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_conserved(&world, &[&daemon]).await;
}

/// H1: the secret nonces are lost with the process. It signs nothing in this attempt, and joins the next round with new ones.
#[tokio::test]
async fn a_restart_within_an_attempt_signs_nothing_and_joins_the_next_round() {
    let world = World::with(Params {
        round_submit_time: Duration::from_secs(2),
        ..rounds_of(2)
    })
    .await;
    let mut daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await.remove(0);
    daemon.refresh_all().await;
    let restart = async {
        wait_for_state(&daemon, "ongoing").await;
        daemon.stop().await;
        daemon.restart(None).await;
    };
    // The other participant that the server waits for does not exist, so the attempt lasts until its time is up.
    let (finished, ()) = tokio::join!(world.round(), restart);
    assert!(!finished, "nobody has signed");
    let joins = world.calls_of("SubmitPayment");
    daemon.wait_for_connected(true).await;
    wait_for_state(&daemon, "pending").await;
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_eq!(world.calls_of("SubmitPayment"), joins);
    assert_eq!(world.calls_of("ProvideVtxoSignatures"), 0);

    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert_refreshed_once(&daemon, &old).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_delegated_refresh_that_the_server_does_not_know_any_more_fails_and_costs_nothing() {
    let world = World::with(rounds_of(0)).await;
    let daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await;
    let unknown = json!({"type": "not_found"});
    world.fault(json!({"target": "round.status", "times": 1, "action": unknown}));
    let body = json!({"vtxos": old});
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, body).await.ok();
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.wait_without_rounds().await;
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    let failed = daemon.movement("refresh").await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["effective_balance_sat"], 0);
    assert_conserved(&world, &[&daemon]).await;
}

/// H33: a backup is restored that is older than the refresh. The mailbox tells of the round, and the server shows it.
#[tokio::test]
async fn a_delegated_refresh_that_a_restored_backup_does_not_know_is_completed() {
    let world = World::with(charging_rounds_of(0)).await;
    let mut daemon = boarded(&world, &[100_000]).await;
    let old = daemon.vtxos().await;
    let database = daemon.folder().join("db.sqlite");
    let backup = daemon.folder().join("backup.sqlite");
    daemon.stop().await;
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();

    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    let body = json!({"vtxos": old});
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, body).await.ok();
    daemon.stop().await;
    for file in ["db.sqlite-wal", "db.sqlite-shm"] {
        // It is there only if the daemon has left it.
        let _ = std::fs::remove_file(daemon.folder().join(file));
    }
    std::fs::rename(&backup, &database).unwrap();
    assert!(world.round().await);
    world.mine(1).await;

    daemon.restart(None).await;
    eventually("the new VTXO replaces the old one", async || {
        let held = daemon.vtxos().await;
        (!held.is_empty() && held != old).then_some(())
    })
    .await;
    daemon.wait_without_rounds().await;
    assert_refreshed_once(&daemon, &old[0]).await;
    let refresh = daemon.movement("refresh").await;
    assert!(refresh["offchain_fee_sat"].as_u64().unwrap() > 0);
    // The same message of the mailbox again changes nothing.
    daemon.post_empty("/wallet/sync/mailbox").await.ok();
    assert_refreshed_once(&daemon, &old[0]).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// docs/protocol.md §27: a refused input of an automatic refresh is left out within the same round; one failed and one
/// successful movement report it.
#[tokio::test]
async fn a_refused_vtxo_does_not_hold_up_the_automatic_refresh_of_others() {
    let world = World::with(rounds_of(1)).await;
    let daemon = boarded(&world, &[50_000, 40_000]).await;
    let mut old = daemon.vtxos().await;
    let mut expiries = Vec::new();
    for id in &old {
        let detail = daemon.get(&format!("/wallet/vtxos/{id}")).await.ok();
        expiries.push(detail["expiry_height"].as_u64().unwrap());
    }
    let last = u32::try_from(*expiries.iter().max().unwrap()).unwrap();
    let (refused, other) = (old.remove(0), old.remove(0));
    world.mine(last - 8 - world.height().await).await;
    daemon.wait_for_tip(&world).await;
    let refusal =
        json!({"type": "status", "code": 3, "message": "not spendable", "identifiers": [refused]});
    world.fault(json!({"target": "SubmitPayment", "times": 1, "action": refusal}));
    world.successful_round().await;
    daemon.finish_round(&world).await;
    let held = daemon.vtxos().await;
    assert!(
        held.contains(&refused) && !held.contains(&other),
        "{held:?}"
    );
    let refreshes = refreshes(&daemon).await;
    let statuses: Vec<_> = refreshes.iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["successful", "failed"]);
    assert_eq!(refreshes[0]["input_vtxos"], json!([other]));
    assert_conserved(&world, &[&daemon]).await;
}
