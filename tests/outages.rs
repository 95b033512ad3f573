//! Rounds and offboards while requests and answers are lost, streams break, and the server or another participant is killed.

use std::time::Duration;

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use crate::crash::assert_killed;
use crate::support::{Daemon, World, assert_conserved, eventually, rounds_of};

/// A daemon with 80 000 sat in two VTXOs, and rounds that wait for so many participants, but not for long.
async fn scene(interactive: usize) -> (World, Daemon) {
    let world = World::with(Params {
        round_submit_time: Duration::from_secs(2),
        ..rounds_of(interactive)
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    daemon.fund_and_board(&world, 30_000).await;
    (world, daemon)
}

/// Runs rounds until one includes the daemon's refresh, and mines the block that confirms it.
pub async fn drive_rounds(world: &World, daemon: &Daemon, what: &str) {
    eventually(&format!("{what}: the refresh is made"), async || {
        let Some(round) = daemon.rounds().await.pop() else {
            return Some(());
        };
        if round["status"]["status"] == "unconfirmed" {
            world.mine(1).await;
        } else if round["state"] != "awaiting-confirmations" {
            world.round().await;
        }
        daemon.post_empty("/wallet/sync").await.ok();
        None
    })
    .await;
}

async fn until_refreshed(world: &World, daemon: &Daemon, old: &[String], what: &str) {
    drive_rounds(world, daemon, what).await;
    let held = daemon.vtxos().await;
    assert!(held.iter().all(|id| !old.contains(id)), "{what}");
    assert_eq!(daemon.balance("spendable_sat").await, 80_000, "{what}");
    let movement = daemon.movement("refresh").await;
    assert_eq!(movement["status"], "successful", "{what}: {movement:#}");
}

/// Refreshes everything once for each of these faults, interactively or delegated.
async fn refresh_through(faults: &[Value], delegated: bool) {
    let (world, daemon) = scene(usize::from(!delegated)).await;
    for fault in faults {
        let old = daemon.vtxos().await;
        world.fault(fault.clone());
        if delegated {
            let body = json!({"vtxos": old});
            let path = "/wallet/refresh/delegated/vtxos";
            daemon.post(path, body).await.ok();
        } else {
            daemon.refresh_all().await;
        }
        until_refreshed(&world, &daemon, &old, &fault.to_string()).await;
        world.no_faults();
        daemon.wait_for_connected(true).await;
    }
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}

/// For each RPC, the first request is lost, then the first answer.
fn lost(rpcs: &[&str]) -> Vec<Value> {
    let both = rpcs.iter().flat_map(|rpc| {
        ["drop_before", "drop_after"]
            .map(|kind| json!({"target": rpc, "times": 1, "action": {"type": kind}}))
    });
    both.collect()
}

/// The server crashes once at each of these points.
fn crashes(hooks: &[&str]) -> Vec<Value> {
    let rules = hooks
        .iter()
        .map(|hook| json!({"target": hook, "times": 1, "action": {"type": "crash"}}));
    rules.collect()
}

#[tokio::test]
async fn a_refresh_survives_the_loss_of_each_request_and_each_answer() {
    let faults = lost(&[
        "SubmitPayment",
        "ProvideVtxoSignatures",
        "RoundParticipationStatus",
        "RequestLeafVtxoCosign",
        "RequestForfeitNonces",
        "ForfeitVtxos",
        "RegisterVtxoTransactions",
    ]);
    refresh_through(&faults, false).await;
}

/// The stream breaks before the first event of a round, and in the middle of one.
#[tokio::test]
async fn a_refresh_survives_a_broken_stream_of_events() {
    let (world, daemon) = scene(1).await;
    for messages in [1, 2] {
        let old = daemon.vtxos().await;
        let cut = json!({"type": "cut_stream_after", "messages": messages});
        world.fault(json!({"target": "SubscribeRounds", "times": 1, "action": cut}));
        // A stream that is open already is not cut.
        world.sandbox.ark.restart().await;
        daemon.refresh_all().await;
        until_refreshed(&world, &daemon, &old, &cut.to_string()).await;
        world.no_faults();
    }
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_delegated_refresh_survives_the_loss_of_each_request_and_each_answer() {
    let faults = lost(&[
        "SubmitRoundParticipation",
        "RoundParticipationStatus",
        "RequestLeafVtxoCosign",
        "RequestForfeitNonces",
        "ForfeitVtxos",
    ]);
    refresh_through(&faults, true).await;
}

#[tokio::test]
async fn a_refresh_survives_a_crash_of_the_server_anywhere_in_the_round() {
    let faults = crashes(&[
        "round.attempt",
        "round.proposal",
        "round.commit",
        "round.finished",
        "round.status",
        "round.leaf",
        "round.forfeit.persisted",
    ]);
    refresh_through(&faults, false).await;
}

#[tokio::test]
async fn a_delegated_refresh_survives_a_crash_of_the_server_anywhere_in_the_round() {
    let faults = crashes(&[
        "round.proposal",
        "round.commit",
        "round.status",
        "round.leaf",
        "round.forfeit.persisted",
    ]);
    refresh_through(&faults, true).await;
}

/// The server restarts the round without the participant that does not sign.
#[tokio::test]
async fn a_round_continues_when_another_participant_is_killed_in_it() {
    let world = World::with(rounds_of(2)).await;
    let one = Daemon::with_wallet(&world).await;
    let mut other = Daemon::with_wallet(&world).await;
    for daemon in [&one, &other] {
        daemon.fund_and_board(&world, 50_000).await;
    }
    other.stop().await;
    other.restart(Some("round.joined.after")).await;
    other.wait_for_connected(true).await;
    let (mine, theirs) = (one.vtxos().await, other.vtxos().await);
    one.refresh_all().await;
    other.refresh_all().await;
    assert!(world.round().await, "with one of them");
    assert_killed(other.wait_for_exit().await);
    one.finish_round(&world).await;
    assert!(!one.vtxos().await.contains(&mine[0]));
    assert_eq!(world.calls_of("SubmitPayment"), 3, "one joined twice");

    other.restart(None).await;
    other.wait_for_connected(true).await;
    assert_eq!(other.vtxos().await, theirs);
    drive_rounds(&world, &other, "the other one").await;
    assert!(!other.vtxos().await.contains(&theirs[0]));
    assert_conserved(&world, &[&one, &other]).await;
}

/// Pays an on-chain address once for each of these faults.
async fn pay_through(faults: &[Value]) {
    let (world, daemon) = scene(1).await;
    let to = daemon.post_empty("/onchain/addresses/next").await.ok()["address"].clone();
    let to = to.as_str().unwrap();
    let (mut left, mut arrived) = (80_000, 0);
    for fault in faults {
        world.fault(fault.clone());
        let body = json!({"destination": to, "amount_sat": 2_000});
        let reply = daemon.post("/wallet/send-onchain", body).await;
        assert!([200, 202].contains(&reply.status), "{fault}: {reply:#?}");
        world.no_faults();
        eventually(&format!("{fault}: it is paid"), async || {
            daemon.post_empty("/wallet/sync").await.ok();
            (daemon.movement("send_onchain").await["status"] == "successful").then_some(())
        })
        .await;
        let movement = daemon.movement("send_onchain").await;
        left -= movement["effective_balance_sat"]
            .as_i64()
            .unwrap()
            .unsigned_abs();
        arrived += 2_000;
        assert_eq!(world.received(to).await, arrived, "{fault}: paid once");
        daemon.wait_for_spendable(left).await;
        world.mine(1).await;
        daemon.wait_for_connected(true).await;
    }
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn an_onchain_payment_survives_the_loss_of_each_request_and_each_answer() {
    let faults = lost(&[
        "RequestArkoorCosign",
        "RegisterVtxoTransactions",
        "PrepareOffboard",
        "FinishOffboard",
    ]);
    pay_through(&faults).await;
}

#[tokio::test]
async fn an_onchain_payment_survives_a_crash_of_the_server_anywhere_in_it() {
    let faults = crashes(&[
        "arkoor.checked",
        "arkoor.persisted",
        "arkoor.response",
        "register",
        "offboard.persisted",
    ]);
    pay_through(&faults).await;
}

#[tokio::test]
async fn nothing_is_started_while_the_server_is_unreachable() {
    let (world, daemon) = scene(1).await;
    let (old, movements) = (daemon.vtxos().await, daemon.history().await.len());
    let to = world.sandbox.faucet.address().to_string();
    world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    daemon.wait_for_connected(false).await;
    let named = json!({"vtxos": old, "address": to});
    let payment = json!({"destination": to, "amount_sat": 2_000});
    for (path, body) in [
        ("/wallet/refresh/vtxos", named.clone()),
        ("/wallet/refresh/delegated/vtxos", named.clone()),
        ("/wallet/refresh/all", Value::Null),
        ("/wallet/offboard/vtxos", named.clone()),
        ("/wallet/offboard/all", json!({})),
        ("/wallet/send-onchain", payment),
        ("/fees/offboard", named),
    ] {
        let reply = daemon.post(path, body).await;
        reply.refused(503, "server_unavailable");
    }
    for path in [
        "/wallet/next-round",
        "/fees/board?amount_sat=20000",
        "/fees/lightning/pay?amount_sat=20000",
        "/fees/lightning/receive?amount_sat=20000",
        &format!("/fees/offboard-all?address={to}"),
        &format!("/fees/send-onchain?amount_sat=2000&address={to}"),
    ] {
        let reply = daemon.get(path).await;
        reply.refused(503, "server_unavailable");
    }
    assert!(daemon.rounds().await.is_empty());
    assert_eq!(daemon.history().await.len(), movements);
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    world.no_faults();
    daemon.wait_for_connected(true).await;
    daemon.refresh_all().await;
    until_refreshed(&world, &daemon, &old, "the server is back").await;
    assert_conserved(&world, &[&daemon]).await;
}
