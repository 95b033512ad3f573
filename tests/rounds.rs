//! Rounds whose end the daemon misses, which it leaves, and which a reorganisation removes.

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
    // It may not even ask.
    world.optional_fault(json!({"target": "RoundParticipationStatus", "action": drop}));
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
async fn a_delegated_refresh_that_the_server_never_knows_fails_and_costs_nothing() {
    let world = World::with(rounds_of(0)).await;
    let daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await;
    let unknown = json!({"type": "not_found"});
    world.fault(json!({"target": "round.status", "action": unknown}));
    let body = json!({"vtxos": old});
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, body).await.ok();
    eventually("the refresh is given up", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(world.faults_fired("round.status"), 5);
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    let failed = daemon.movement("refresh").await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["effective_balance_sat"], 0);
    assert_conserved(&world, &[&daemon]).await;
}

/// The server drops a participation whose input is in use when its round begins, here by an offboard that comes to nothing. The
/// refresh is delegated again.
#[tokio::test]
async fn a_delegated_refresh_that_the_server_has_dropped_is_taken_up_again() {
    let world = World::with(rounds_of(0)).await;
    let daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await;
    let body = json!({"vtxos": old});
    let path = "/wallet/refresh/delegated/vtxos";
    let first = daemon.post(path, body).await.ok();
    let wrong = json!({"type": "alter_offboard", "change": "wrong_amount"});
    world.fault(json!({"target": "offboard.prepared", "times": 1, "action": wrong}));
    let to = world.sandbox.faucet.address().to_string();
    let offboard = daemon.post("/wallet/offboard/all", json!({"address": to}));
    offboard.await.refused(409, "server_refused");
    assert_eq!(world.faults_fired("offboard.prepared"), 1);
    assert!(!world.round().await, "the only participation is dropped");

    // The prepared offboard, which holds the VTXO, is forgotten.
    world.sandbox.ark.restart().await;
    daemon.wait_for_connected(true).await;
    eventually("it is delegated again", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let shown = daemon.rounds().await.remove(0);
        let hash = shown["unlock_hash"].as_str()?;
        (hash != first["unlock_hash"]).then_some(())
    })
    .await;
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert_refreshed_once(&daemon, &old[0]).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// H33, H46: a backup is restored that is older than the refresh. The mailbox tells of the round, and a person has it completed.
#[tokio::test]
async fn a_delegated_refresh_that_a_restored_backup_does_not_know_is_completed_on_request() {
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
    let facts = eventually("the operator is asked", async || {
        assert_eq!(world.calls_of("ForfeitVtxos"), 0);
        let facts = daemon.get("/wallet").await.ok()["attention"].clone();
        (facts != json!([])).then_some(facts)
    })
    .await;
    assert_eq!(facts[0]["code"], "unknown_round", "{facts:#}");
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    let hash = facts[0]["subject"].as_str().unwrap();
    let path = format!("/wallet/rounds/{hash}/recover");
    let body = json!({"max_fee_sat": 1_000});
    daemon.post(&path, body).await.ok();
    daemon.wait_without_rounds().await;
    assert_refreshed_once(&daemon, &old[0]).await;
    let refresh = daemon.movement("refresh").await;
    assert!(refresh["offchain_fee_sat"].as_u64().unwrap() > 0);
    // The same message of the mailbox again changes nothing.
    daemon.post_empty("/wallet/sync/mailbox").await.ok();
    assert_refreshed_once(&daemon, &old[0]).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// Nothing is given up for a round that is not in the chain any more; it is, once the round is back.
#[tokio::test]
async fn a_refresh_waits_for_a_round_that_a_reorganisation_removes() {
    let world = World::with(rounds_of(1)).await;
    let daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await;
    daemon.refresh_all().await;
    world.fault(json!({"target": "RequestLeafVtxoCosign", "action": {"type": "drop_before"}}));
    assert!(world.round().await);
    world.mine(1).await;
    let txid = eventually("the leaf is asked for", async || {
        let asked = world.calls_of("RequestLeafVtxoCosign") > 0;
        let shown = daemon.rounds().await.remove(0);
        asked.then(|| shown["funding_txid"].as_str().unwrap().to_owned())
    })
    .await;

    world.unconfirm(&txid, 1).await;
    world.no_faults();
    daemon.wait_for_tip(&world).await;
    eventually("the round is not confirmed", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let shown = daemon.rounds().await.remove(0);
        (shown["status"]["status"] == "unconfirmed").then_some(())
    })
    .await;
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.vtxos().await, old);
    assert_eq!(daemon.balance("pending_in_round_sat").await, 50_000);

    world.let_in(&txid).await;
    daemon.finish_round(&world).await;
    assert_eq!(daemon.funding_txid().await, txid);
    assert!(!daemon.vtxos().await.contains(&old[0]));
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_reorganisation_after_the_refresh_costs_nothing() {
    let world = World::with(rounds_of(1)).await;
    let (daemon, payee) = (
        boarded(&world, &[50_000]).await,
        Daemon::with_wallet(&world).await,
    );
    daemon.refresh_all().await;
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    let txid = daemon.funding_txid().await;
    let txid = txid.as_str().unwrap();
    world.mine(1).await;
    world.unconfirm(txid, 2).await;
    daemon.wait_for_tip(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    world.let_in(txid).await;
    world.mine(1).await;
    daemon.wait_for_tip(&world).await;
    daemon.send(&payee.address().await, 20_000).await.ok();
    payee.wait_for_spendable(20_000).await;
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("spendable_sat").await, 30_000);
    assert_conserved(&world, &[&daemon, &payee]).await;
}

/// A server that waits out the time of each attempt, a daemon that has requested a refresh, and another one's delegated refresh,
/// for which the server makes a second attempt when the first daemon has not signed.
async fn two_attempts() -> (World, Daemon) {
    let world = World::with(Params {
        round_participants: None,
        round_submit_time: Duration::from_secs(3),
        ..rounds_of(0)
    })
    .await;
    let daemon = boarded(&world, &[50_000]).await;
    let other = boarded(&world, &[30_000]).await;
    let body = json!({"vtxos": other.vtxos().await});
    let path = "/wallet/refresh/delegated/vtxos";
    other.post(path, body).await.ok();
    daemon.refresh_all().await;
    (world, daemon)
}

/// The refresh takes part in the next round although it has missed this one, in whose second attempt the server does not take it.
async fn assert_joins_the_next_round(world: &World, daemon: &Daemon) {
    let old = daemon.vtxos().await;
    assert!(world.round().await);
    assert_eq!(daemon.vtxos().await, old);
    world.no_faults();
    assert!(world.round().await);
    daemon.finish_round(world).await;
    assert_refreshed_once(daemon, &old[0]).await;
}

/// The answer to the submission is lost, and the repeated one is refused as too late. The server has taken the first one.
#[tokio::test]
async fn a_submission_that_the_server_may_have_taken_is_not_repeated_in_the_same_round() {
    let (world, daemon) = two_attempts().await;
    let lost = json!({"type": "drop_after"});
    let late = json!({"type": "status", "code": 3, "message": "too late for this round"});
    for action in [lost, late] {
        world.fault(json!({"target": "SubmitPayment", "times": 1, "action": action}));
    }
    assert_joins_the_next_round(&world, &daemon).await;
}

/// The signatures of the tree do not arrive, so the server bans the VTXO from the round's later attempts.
#[tokio::test]
async fn a_ban_ends_with_its_round() {
    let (world, daemon) = two_attempts().await;
    let lost = json!({"type": "drop_before"});
    world.fault(json!({"target": "ProvideVtxoSignatures", "action": lost}));
    assert_joins_the_next_round(&world, &daemon).await;
    assert!(world.calls_of("ProvideVtxoSignatures") > 1);
}

/// H55: the answer to a delegation is lost, the next try is refused, and the server carries out the first one. Its fee is more than a
/// twentieth of the small VTXO.
#[tokio::test]
async fn a_small_delegated_refresh_that_is_refused_after_a_lost_answer_is_completed() {
    let world = World::with(charging_rounds_of(0)).await;
    let daemon = boarded(&world, &[2_400]).await;
    let old = daemon.vtxos().await;
    let target = "SubmitRoundParticipation";
    world.fault(json!({"target": target, "times": 1, "action": {"type": "drop_after"}}));
    let refusal = json!({"type": "status", "code": 3, "message": "no"});
    world.fault(json!({"target": target, "skip": 1, "times": 1, "action": refusal}));
    let body = json!({"vtxos": old});
    let path = "/wallet/refresh/delegated/vtxos";
    let request = daemon.post(path, body);
    let rounds = eventually("the round is carried out and completed", async || {
        if world.faults_fired(target) == 2 {
            world.round().await;
            world.mine(1).await;
            daemon.post_empty("/wallet/sync").await.ok();
        }
        let ledger = world.sandbox.ark.ledger().unwrap();
        let swapped = daemon.vtxos().await != old && ledger.unclaimed.count == 0;
        swapped.then_some(())
    });
    tokio::join!(request, rounds);
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}

/// H56: a round has taken the coins for a refresh that counts as failed, and the server's message about it is late. A payment with
/// them fails, and writes nothing off: the new VTXO comes.
#[tokio::test]
async fn coins_that_an_unreported_round_has_taken_are_not_written_off() {
    let world = World::with(charging_rounds_of(0)).await;
    let daemon = boarded(&world, &[20_000]).await;
    let (old, owned) = (daemon.vtxos().await, daemon.balance("spendable_sat").await);
    let target = "SubmitRoundParticipation";
    world.fault(json!({"target": target, "times": 1, "action": {"type": "drop_after"}}));
    let refusal = json!({"type": "status", "code": 3, "message": "no"});
    world.fault(json!({"target": target, "skip": 1, "action": refusal}));
    let path = "/wallet/refresh/delegated/vtxos";
    daemon.post(path, json!({"vtxos": old})).await;
    daemon.settled().await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    let late = json!({"type": "status", "code": 14, "message": "later"});
    world.fault(json!({"target": "ReadMailbox", "action": late}));
    assert!(world.round().await);
    world.mine(1).await;

    let to = daemon.address().await;
    let reply = daemon.send(&to, 1_000).await;
    assert_ne!(reply.status, 200, "{:#}", reply.body);
    daemon.settled().await;
    let payment = daemon.movement("send").await;
    assert_eq!(payment["status"], "failed", "{payment:#}");
    assert_eq!(payment["effective_balance_sat"], 0, "{payment:#}");
    world.no_faults();
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.finish_round(&world).await;
    let refresh = daemon.movement("refresh").await;
    assert_eq!(refresh["status"], "successful");
    let fee = refresh["offchain_fee_sat"].as_u64().unwrap();
    daemon.wait_for_spendable(owned - fee).await;
    assert_conserved(&world, &[&daemon]).await;
}
