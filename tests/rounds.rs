//! Rounds and offboards over HTTP, and `kill -9` at each of their commit points: the operation completes or is cleanly
//! undone, no sat is lost, and nothing is paid twice.

use std::time::Duration;

use arkwalletd::sandbox::ark::Params;
use serde_json::{Value, json};

use crate::crash::{Story, assert_killed, booked, failpoints};
use crate::support::{Daemon, World, assert_conserved, eventually};

/// A daemon with 200 000 sat in two VTXOs, at a server whose rounds end as soon as it has joined and signed.
async fn scene() -> (World, Daemon) {
    let world = World::with(Params {
        round_participants: Some(1),
        round_submit_time: Duration::from_secs(2),
        round_sign_time: Duration::from_millis(700),
        ..Params::free()
    })
    .await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 150_000).await;
    daemon.fund_and_board(&world, 50_000).await;
    (world, daemon)
}

async fn vtxos(daemon: &Daemon) -> Vec<Value> {
    let all = daemon.get("/wallet/vtxos").await.ok();
    all.as_array()
        .unwrap()
        .iter()
        .map(|vtxo| vtxo["id"].clone())
        .collect()
}

/// Restarts it with a failpoint, and as if its coins came from a backup: it does not know whether the server has their
/// chains, and does not find out before they are spent.
async fn rearm(world: &World, daemon: &mut Daemon, failpoint: &str) {
    daemon.stop().await;
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    database
        .execute_batch("UPDATE vtxo SET registered = 0")
        .unwrap();
    drop(database);
    world.no_faults();
    world.fault(json!({"target": "PostRecoveryVtxoIds", "action": {"type": "drop_before"}}));
    daemon.restart(Some(failpoint)).await;
    daemon.wait_for_connected(true).await;
}

/// Rounds and blocks until no round is pending.
async fn until_refreshed(world: &World, daemon: &Daemon) {
    eventually("the refresh is done", async || {
        if daemon.get("/wallet/rounds").await.ok() == json!([]) {
            return Some(());
        }
        world.round().await;
        world.mine(1).await;
        daemon.post_empty("/wallet/sync").await.ok();
        None
    })
    .await;
}

#[tokio::test]
async fn a_refresh_over_http_brings_new_vtxos() {
    let (world, daemon) = scene().await;
    let old = vtxos(&daemon).await;
    daemon
        .post("/wallet/refresh/vtxos", json!({"vtxos": []}))
        .await
        .refused(400, "no_vtxos");
    let unknown = format!("{}:0", "ab".repeat(32));
    daemon
        .post("/wallet/refresh/vtxos", json!({"vtxos": [unknown]}))
        .await
        .refused(404, "unknown_vtxo");
    daemon
        .post_empty("/wallet/refresh/counterparty")
        .await
        .refused(404, "no_counterparty_vtxos");
    let pending = daemon
        .post("/wallet/refresh/vtxos", json!({"vtxos": old}))
        .await
        .ok();
    assert_eq!(pending["status"], json!({"status": "pending"}));
    until_refreshed(&world, &daemon).await;
    let new = vtxos(&daemon).await;
    assert_eq!(new.len(), 1);
    assert!(!old.contains(&new[0]));
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_refresh_may_die_anywhere() {
    let (world, mut daemon) = scene().await;
    for failpoint in failpoints(Story::Refresh) {
        println!("{failpoint}");
        rearm(&world, &mut daemon, &failpoint).await;
        let old = vtxos(&daemon).await;
        let _ = daemon.try_send("POST", "/wallet/refresh/all", None).await;
        // It dies at once, in the round, or once that is confirmed.
        world.round().await;
        world.mine(1).await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        until_refreshed(&world, &daemon).await;
        let new = vtxos(&daemon).await;
        if failpoint == "round.started.before" {
            assert_eq!(new, old, "{failpoint}");
        } else {
            assert!(new.iter().all(|vtxo| !old.contains(vtxo)), "{failpoint}");
        }
        daemon.wait_for_spendable(200_000).await;
        let refreshes = booked(&daemon, "refresh").await;
        assert!(
            refreshes
                .iter()
                .all(|told| *told == ("successful".to_owned(), 0)),
            "{failpoint}: {refreshes:?}"
        );
    }
    world.no_faults();
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_missed_round_may_die_anywhere() {
    let (world, mut daemon) = scene().await;
    for failpoint in failpoints(Story::RefreshMissed) {
        println!("{failpoint}");
        rearm(&world, &mut daemon, &failpoint).await;
        let old = vtxos(&daemon).await;
        world.fault(json!({"target": "round.proposal", "times": 1,
            "action": {"type": "alter_tree", "change": "wrong_amount"}}));
        daemon.post_empty("/wallet/refresh/all").await.ok();
        world.round().await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        until_refreshed(&world, &daemon).await;
        let new = vtxos(&daemon).await;
        assert!(new.iter().all(|vtxo| !old.contains(vtxo)), "{failpoint}");
        daemon.wait_for_spendable(200_000).await;
    }
    world.no_faults();
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_refused_refresh_may_die_anywhere() {
    let (world, mut daemon) = scene().await;
    for failpoint in failpoints(Story::RefreshRefused) {
        println!("{failpoint}");
        rearm(&world, &mut daemon, &failpoint).await;
        let old = vtxos(&daemon).await;
        let refusal =
            json!({"type": "status", "code": 3, "message": "no", "identifiers": [old[0]]});
        world.fault(json!({"target": "SubmitPayment", "times": 2, "action": refusal}));
        daemon.post_empty("/wallet/refresh/all").await.ok();
        world.round().await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        // Before the commit, nothing is known of the refusal: the refresh waits for the next round.
        if failpoint.ends_with("before") {
            until_refreshed(&world, &daemon).await;
        }
        daemon.wait_for_spendable(200_000).await;
        daemon.settled().await;
    }
    world.no_faults();
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_delegated_refresh_may_die_anywhere() {
    let (world, mut daemon) = scene().await;
    for failpoint in failpoints(Story::Delegate) {
        println!("{failpoint}");
        rearm(&world, &mut daemon, &failpoint).await;
        let old = vtxos(&daemon).await;
        let _ = daemon
            .try_send(
                "POST",
                "/wallet/refresh/delegated/vtxos",
                Some(json!({"vtxos": old})),
            )
            .await;
        assert_killed(&mut daemon, &failpoint).await;
        // The round happens while nobody is there.
        world.round().await;
        world.no_faults();
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        until_refreshed(&world, &daemon).await;
        let new = eventually("new VTXOs", async || {
            // A round that has yet to be heard of from the mailbox is not pending before.
            until_refreshed(&world, &daemon).await;
            let now = vtxos(&daemon).await;
            (!now.is_empty() && now.iter().all(|vtxo| !old.contains(vtxo))).then_some(now)
        })
        .await;
        assert!(!new.is_empty(), "{failpoint}");
        daemon.wait_for_spendable(200_000).await;
    }
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_shrinking_delegated_refresh_may_die_anywhere() {
    for failpoint in failpoints(Story::DelegateShrunk) {
        println!("{failpoint}");
        let (world, mut daemon) = scene().await;
        let payee = Daemon::with_wallet(&world).await;
        let to = payee.address().await;
        daemon.stop().await;
        daemon.restart(Some(&failpoint)).await;
        daemon.wait_for_connected(true).await;
        let old = vtxos(&daemon).await;
        daemon
            .post("/wallet/refresh/delegated/vtxos", json!({"vtxos": old}))
            .await
            .ok();
        let _ = daemon
            .try_send(
                "POST",
                "/wallet/send",
                Some(json!({"destination": to, "amount_sat": 7_000})),
            )
            .await;
        let _ = daemon.try_send("POST", "/wallet/sync", None).await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        payee.wait_for_spendable(7_000).await;
        until_refreshed(&world, &daemon).await;
        daemon.wait_for_spendable(193_000).await;
        daemon.settled().await;
        assert_conserved(&world, &[&daemon, &payee]).await;
    }
}

#[tokio::test]
async fn an_onchain_payment_may_die_anywhere() {
    send_onchain(None).await;
}

#[tokio::test]
async fn an_onchain_payment_may_die_anywhere_and_the_signed_transaction_gets_lost() {
    send_onchain(Some("FinishOffboard")).await;
}

#[tokio::test]
async fn an_onchain_payment_may_die_anywhere_and_the_split_gets_lost() {
    send_onchain(Some("RequestArkoorCosign")).await;
}

async fn send_onchain(lost: Option<&str>) {
    let (world, mut daemon) = scene().await;
    let to = world.sandbox.faucet.address().to_string();
    let mut left = 200_000;
    for failpoint in failpoints(Story::SendOnchain) {
        println!("{failpoint}, lost reply: {lost:?}");
        rearm(&world, &mut daemon, &failpoint).await;
        if let Some(rpc) = lost {
            world.fault(json!({"target": rpc, "times": 1, "action": {"type": "drop_after"}}));
        }
        let fee = format!("/fees/send-onchain?amount_sat=3000&address={to}");
        let gross = daemon.get(&fee).await.ok()["gross_amount_sat"]
            .as_u64()
            .unwrap();
        let body = json!({"destination": to, "amount_sat": 3_000});
        let _ = daemon
            .try_send("POST", "/wallet/send-onchain", Some(body))
            .await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        if failpoint != "offboard.started.before" {
            left -= gross;
        }
        daemon.settled().await;
        daemon.wait_for_spendable(left).await;
        let paid = booked(&daemon, "send_onchain").await;
        assert!(
            paid.iter().all(|(status, _)| status == "successful"),
            "{failpoint}: {paid:?}"
        );
        world.mine(1).await;
    }
    world.no_faults();
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_refused_onchain_payment_may_die_anywhere() {
    let (world, mut daemon) = scene().await;
    let to = world.sandbox.faucet.address().to_string();
    for failpoint in failpoints(Story::SendOnchainRefused) {
        println!("{failpoint}");
        rearm(&world, &mut daemon, &failpoint).await;
        let target = "RequestArkoorCosign";
        world.fault(json!({"target": target, "times": 1, "action": {"type": "drop_before"}}));
        let refusal = json!({"type": "status", "code": 3, "message": "no"});
        world.fault(json!({"target": target, "skip": 1, "action": refusal}));
        let body = json!({"destination": to, "amount_sat": 3_000});
        let _ = daemon
            .try_send("POST", "/wallet/send-onchain", Some(body))
            .await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        daemon.settled().await;
        let told = booked(&daemon, "send_onchain").await;
        assert_eq!(told[0], ("failed".to_owned(), 0), "{failpoint}");
        daemon.wait_for_spendable(200_000).await;
    }
    world.no_faults();
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_lost_offboard_may_die_anywhere() {
    for failpoint in failpoints(Story::OffboardLost) {
        println!("{failpoint}");
        let (world, mut daemon) = scene().await;
        let to = world.sandbox.faucet.address().to_string();
        rearm(&world, &mut daemon, &failpoint).await;
        world.fault(
            json!({"target": "offboard.prepared", "times": 1, "action": {"type": "forget"}}),
        );
        let id = vtxos(&daemon).await.remove(0);
        let body = json!({"vtxos": [id], "address": to});
        let _ = daemon
            .try_send("POST", "/wallet/offboard/vtxos", Some(body))
            .await;
        assert_killed(&mut daemon, &failpoint).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        eventually("the offboard is done", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            let told = daemon.history().await;
            let offboard = told
                .iter()
                .find(|movement| movement["subsystem"]["kind"] == "offboard")?;
            (offboard["status"] == "successful").then_some(())
        })
        .await;
        world.no_faults();
        assert_conserved(&world, &[&daemon]).await;
    }
}
