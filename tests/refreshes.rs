//! Refreshes: each way to request one, its state until it is done, its fee, and rounds that fail before one succeeds.

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

/// The fee of the server of [`charging_rounds_of`] for a refresh of one VTXO, by its time to expiry, in sat.
fn refresh_fee(sats: u64, blocks_to_expiry: u64) -> u64 {
    let ppm = match blocks_to_expiry {
        0..97 => 0,
        97..199 => 1_000,
        _ => 4_000,
    };
    150 + (sats * ppm).div_ceil(1_000_000)
}

async fn detail(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/wallet/vtxos/{id}")).await.ok()
}

async fn amount(daemon: &Daemon, id: &str) -> u64 {
    detail(daemon, id).await["amount_sat"].as_u64().unwrap()
}

async fn expiry(daemon: &Daemon, id: &str) -> u32 {
    let height = detail(daemon, id).await["expiry_height"].as_u64();
    height.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn named_vtxos_are_refreshed_for_their_fee_and_others_are_left_alone() {
    let world = World::with(charging_rounds_of(1)).await;
    let daemon = boarded(&world, &[60_000, 40_000]).await;
    let ids = daemon.vtxos().await;
    let (named, other) = (&ids[0], &ids[1]);
    let (value, before) = (
        amount(&daemon, named).await,
        daemon.balance("spendable_sat").await,
    );
    let fee = refresh_fee(value, 400);
    let pending = daemon.refresh(std::slice::from_ref(named)).await;
    assert_eq!(pending["status"], json!({"status": "pending"}));
    assert_eq!(pending["participation"]["inputs"], json!([named]));
    assert_eq!(
        pending["participation"]["outputs"][0]["amount_sat"],
        value - fee
    );
    assert!(world.round().await);
    daemon.finish_round(&world).await;

    let held = daemon.vtxos().await;
    assert!(held.contains(other) && !held.contains(named), "{held:?}");
    assert_eq!(daemon.balance("spendable_sat").await, before - fee);
    let refresh = daemon.movement("refresh").await;
    assert_eq!(refresh["status"], "successful");
    assert_eq!(refresh["offchain_fee_sat"], fee);
    assert_eq!(refresh["intended_balance_sat"], 0);
    assert_eq!(
        refresh["effective_balance_sat"],
        -i64::try_from(fee).unwrap()
    );
    assert_eq!(refresh["input_vtxos"], json!([named]));
    assert_conserved(&world, &[&daemon]).await;
}

/// `/wallet/rounds`, `/wallet/next-round` and `/wallet/balance` before, during and after the round.
#[tokio::test]
async fn a_refresh_of_everything_can_be_followed_until_it_is_done() {
    let world = World::with(rounds_of(1)).await;
    let daemon = boarded(&world, &[60_000, 40_000]).await;
    assert!(daemon.rounds().await.is_empty());
    let asked = daemon.refresh_all().await;
    let shown = daemon.rounds().await;
    assert_eq!(shown, [asked]);
    assert_eq!(shown[0]["state"], "pending");
    assert_eq!(shown[0]["funding_txid"], Value::Null);
    assert_eq!(daemon.balance("spendable_sat").await, 100_000, "not locked");
    let next = daemon.get("/wallet/next-round").await.ok();
    let next = next["start_time"].as_str().unwrap().to_owned();
    let next = chrono::DateTime::parse_from_rfc3339(&next).unwrap();
    assert!(next > chrono::Utc::now());

    assert!(world.round().await);
    let unconfirmed = eventually("the round has happened", async || {
        let shown = daemon.rounds().await.remove(0);
        (shown["status"]["status"] == "unconfirmed").then_some(shown)
    })
    .await;
    assert_eq!(unconfirmed["id"], shown[0]["id"]);
    assert_eq!(unconfirmed["state"], "awaiting-confirmations");
    let txid = unconfirmed["funding_txid"].as_str().unwrap();
    assert_eq!(unconfirmed["status"]["funding_txid"], txid);
    assert!(world.knows(txid).await);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    eventually("the inputs are held by the round", async || {
        (daemon.balance("pending_in_round_sat").await == 100_000).then_some(())
    })
    .await;

    daemon.finish_round(&world).await;
    assert_eq!(daemon.balance("pending_in_round_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 100_000);
    assert_eq!(daemon.vtxos().await.len(), 1);
    assert_eq!(daemon.funding_txid().await, txid);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn received_vtxos_are_refreshed_and_boarded_ones_are_not() {
    let world = World::with(rounds_of(1)).await;
    let (payer, payee) = (
        boarded(&world, &[50_000]).await,
        boarded(&world, &[30_000]).await,
    );
    let boarded = payee.vtxos().await;
    payer.send(&payee.address().await, 20_000).await.ok();
    payee.wait_for_spendable(50_000).await;
    let received: Vec<String> = payee.vtxos().await;
    let received = received.iter().find(|id| !boarded.contains(id)).unwrap();
    let pending = payee.post_empty("/wallet/refresh/counterparty").await.ok();
    assert_eq!(pending["participation"]["inputs"], json!([received]));
    assert!(world.round().await);
    payee.finish_round(&world).await;

    let held = payee.vtxos().await;
    assert!(held.contains(&boarded[0]) && !held.contains(received));
    payee
        .post_empty("/wallet/refresh/counterparty")
        .await
        .refused(404, "no_counterparty_vtxos");
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_delegated_refresh_happens_in_the_next_round() {
    let world = World::with(charging_rounds_of(0)).await;
    let daemon = boarded(&world, &[60_000]).await;
    let (old, before) = (daemon.vtxos().await, daemon.balance("spendable_sat").await);
    let body = json!({"vtxos": old});
    let pending = daemon.post("/wallet/refresh/delegated/vtxos", body).await;
    let pending = pending.ok();
    assert_eq!(pending["state"], "delegated-pending");
    assert!(pending["unlock_hash"].is_string());
    assert_eq!(daemon.balance("spendable_sat").await, before, "not locked");
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert!(!daemon.vtxos().await.contains(&old[0]));
    let left = before - refresh_fee(before, 400);
    assert_eq!(daemon.balance("spendable_sat").await, left);
    assert_conserved(&world, &[&daemon]).await;
}

/// No earlier round includes it, and its fee is that of the scheduled height.
#[tokio::test]
async fn a_scheduled_refresh_waits_for_its_height_and_is_cheaper_then() {
    let world = World::with(charging_rounds_of(0)).await;
    let daemon = boarded(&world, &[60_000]).await;
    let (old, before) = (daemon.vtxos().await, daemon.balance("spendable_sat").await);
    let expiry = expiry(&daemon, &old[0]).await;
    let delegate = async |height: u32| {
        let body = json!({"vtxos": old, "height": height});
        daemon.post("/wallet/refresh/delegated/vtxos", body).await
    };
    delegate(expiry).await.refused(400, "height_too_late");
    let height = expiry - 150;
    let pending = delegate(height).await.ok();
    assert_eq!(pending["scheduled_height"], height);
    assert!(!world.round().await, "too early");
    let missing = height - world.height().await;
    world.mine(missing).await;
    daemon.wait_for_tip(&world).await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    let left = before - refresh_fee(before, 150);
    assert_eq!(daemon.balance("spendable_sat").await, left);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn two_wallets_join_one_round() {
    let world = World::with(rounds_of(2)).await;
    let (one, other) = (
        boarded(&world, &[50_000, 30_000]).await,
        boarded(&world, &[40_000]).await,
    );
    for daemon in [&one, &other] {
        daemon.refresh_all().await;
    }
    assert!(world.round().await);
    world.mine(1).await;
    for daemon in [&one, &other] {
        daemon.wait_without_rounds().await;
    }
    assert_eq!(one.funding_txid().await, other.funding_txid().await);
    assert!(one.funding_txid().await.is_string());
    assert_ne!(one.vtxos().await, other.vtxos().await);
    assert_eq!(one.balance("spendable_sat").await, 80_000);
    assert_eq!(other.balance("spendable_sat").await, 40_000);
    assert_conserved(&world, &[&one, &other]).await;
}

#[tokio::test]
async fn fifty_vtxos_become_one_in_one_round() {
    const PAYMENTS: u64 = 50;
    let world = World::with(Params {
        max_vtxo_exit_depth: 1_000,
        ..rounds_of(1)
    })
    .await;
    let (payer, payee) = (
        boarded(&world, &[100_000]).await,
        Daemon::with_wallet(&world).await,
    );
    let to = payee.address().await;
    for _ in 0..PAYMENTS {
        payer.send(&to, 1_000).await.ok();
    }
    payee.wait_for_spendable(PAYMENTS * 1_000).await;
    // A payment with several inputs creates several VTXOs.
    let (mut fifty, all) = (payee.vtxos().await, payee.vtxos().await.len());
    fifty.truncate(50);
    let pending = payee.refresh(&fifty).await;
    let inputs = pending["participation"]["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 50);
    world.successful_round().await;
    payee.finish_round(&world).await;
    assert_eq!(payee.vtxos().await.len(), all - 49);
    assert_eq!(payee.balance("spendable_sat").await, PAYMENTS * 1_000);
    assert_eq!(world.calls_of("ForfeitVtxos"), 1);
    payee.send(&payer.address().await, 50_000).await.ok();
    payer.wait_for_spendable(100_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// The first round fails before anybody can join, the second because the signatures do not reach the server.
#[tokio::test]
async fn a_refresh_survives_two_rounds_that_fail() {
    let world = World::with(rounds_of(1)).await;
    let daemon = boarded(&world, &[50_000]).await;
    let old = daemon.vtxos().await;
    let asked = daemon.refresh_all().await;
    for (target, action) in [
        ("round.attempt", "fail_round"),
        ("ProvideVtxoSignatures", "drop_before"),
    ] {
        world.fault(json!({"target": target, "action": {"type": action}}));
        assert!(!world.round().await, "{target}");
        world.no_faults();
        let waiting = eventually("it waits for the next round", async || {
            let shown = daemon.rounds().await.remove(0);
            (shown["state"] == "pending").then_some(shown)
        })
        .await;
        assert_eq!(waiting["id"], asked["id"]);
        assert_eq!(daemon.vtxos().await, old);
        assert_eq!(daemon.balance("spendable_sat").await, 50_000, "{target}");
    }
    assert!(world.calls_of("ProvideVtxoSignatures") > 0);
    assert!(world.round().await);
    daemon.finish_round(&world).await;
    assert!(!daemon.vtxos().await.contains(&old[0]));
    let refreshes = daemon.history().await.into_iter();
    let refreshes: Vec<Value> = refreshes
        .filter(|movement| movement["subsystem"]["kind"] == "refresh")
        .collect();
    assert_eq!(refreshes.len(), 1, "{refreshes:#?}");
    assert_eq!(refreshes[0]["status"], "successful");
    assert_conserved(&world, &[&daemon]).await;
}

/// The server has carried out a delegated refresh, but the daemon does not know yet and spends its inputs: the payment is refused,
/// and the refresh succeeds.
#[tokio::test]
async fn a_payment_with_coins_that_a_round_has_just_taken_fails_and_costs_nothing() {
    for kind in ["send", "send_onchain", "offboard"] {
        let world = World::with(rounds_of(0)).await;
        let (daemon, payee) = (
            boarded(&world, &[50_000]).await,
            Daemon::with_wallet(&world).await,
        );
        let old = daemon.vtxos().await;
        let body = json!({"vtxos": old});
        let path = "/wallet/refresh/delegated/vtxos";
        daemon.post(path, body).await.ok();
        let unheard = world.fault(
            json!({"target": "RoundParticipationStatus", "action": {"type": "drop_before"}}),
        );
        assert!(world.round().await);
        let (ark, bitcoin) = (payee.address().await, world.sandbox.faucet.address());
        let (path, rpc, body) = match kind {
            "send" => (
                "/wallet/send",
                "RequestArkoorCosign",
                json!({"destination": ark, "amount_sat": 9_000}),
            ),
            "send_onchain" => (
                "/wallet/send-onchain",
                "RequestArkoorCosign",
                json!({"destination": bitcoin.to_string(), "amount_sat": 9_000}),
            ),
            _ => ("/wallet/offboard/all", "PrepareOffboard", json!({})),
        };
        // The first request is lost, so that the refusal of the second proves nothing.
        world.fault(json!({"target": rpc, "times": 1, "action": {"type": "drop_before"}}));
        let (reply, ()) = tokio::join!(daemon.post(path, body), async {
            eventually("the server refuses it", async || {
                let is_asked = world.fired(unheard) > 0;
                (is_asked && world.calls_of(rpc) > 1).then_some(())
            })
            .await;
            world.no_faults();
        });
        // A machine under load may need more time than a request waits.
        assert!([202, 409].contains(&reply.status), "{reply:?}");
        if reply.status == 409 {
            reply.refused(409, "server_refused");
        }
        let failed = eventually("it has failed", async || {
            let movement = daemon.movement(kind).await;
            (movement["status"] == "failed").then_some(movement)
        })
        .await;
        assert_eq!(failed["effective_balance_sat"], 0, "{failed:#}");
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.finish_round(&world).await;
        assert!(!daemon.vtxos().await.contains(&old[0]), "{kind}");
        daemon.wait_for_spendable(50_000).await;
        assert_conserved(&world, &[&daemon, &payee]).await;
    }
}

/// Of two requests for the same refresh, one succeeds, and the other fails without cost.
#[tokio::test]
async fn two_requests_refresh_the_same_vtxos_once() {
    for routes in [
        ["vtxos", "vtxos"],
        ["delegated/vtxos", "delegated/vtxos"],
        ["delegated/vtxos", "vtxos"],
        ["vtxos", "delegated/vtxos"],
    ] {
        let interactive = usize::from(routes.contains(&"vtxos"));
        let world = World::with(charging_rounds_of(interactive)).await;
        let daemon = boarded(&world, &[60_000]).await;
        let (old, before) = (daemon.vtxos().await, daemon.balance("spendable_sat").await);
        for route in routes {
            let path = format!("/wallet/refresh/{route}");
            daemon.post(&path, json!({"vtxos": old})).await.ok();
        }
        assert_eq!(daemon.rounds().await.len(), 2, "{routes:?}");
        eventually("both have come to an end", async || {
            world.round().await;
            world.mine(1).await;
            daemon.post_empty("/wallet/sync").await.ok();
            daemon.rounds().await.is_empty().then_some(())
        })
        .await;
        let mut refreshes = Vec::new();
        for movement in daemon.history().await {
            if movement["subsystem"]["kind"] == "refresh" {
                refreshes.push(movement);
            }
        }
        let (done, rest): (Vec<_>, Vec<_>) = refreshes
            .into_iter()
            .partition(|movement| movement["status"] == "successful");
        assert_eq!((done.len(), rest.len()), (1, 1), "{routes:?}");
        assert_eq!(rest[0]["effective_balance_sat"], 0, "{routes:?}");
        let left = before - refresh_fee(before, 400);
        assert_eq!(daemon.balance("spendable_sat").await, left, "{routes:?}");
        assert_conserved(&world, &[&daemon]).await;
    }
}

/// The inputs can be spent until the round begins, whether the refresh is delegated or not.
#[tokio::test]
async fn what_is_spent_before_the_round_is_left_out_of_it() {
    for route in ["vtxos", "delegated/vtxos"] {
        let world = World::with(rounds_of(usize::from(route == "vtxos"))).await;
        let daemon = boarded(&world, &[50_000, 30_000]).await;
        let old = daemon.vtxos().await;
        let path = format!("/wallet/refresh/{route}");
        daemon.post(&path, json!({"vtxos": old})).await.ok();
        let to = world.sandbox.faucet.address().to_string();
        let gone = json!({"vtxos": [old[0]], "address": to});
        daemon.post("/wallet/offboard/vtxos", gone).await.ok();
        let kept = amount(&daemon, &old[1]).await;
        daemon.post_empty("/wallet/sync").await.ok();
        eventually("the round takes the rest", async || {
            world.round().await;
            world.mine(1).await;
            daemon.post_empty("/wallet/sync").await.ok();
            daemon.rounds().await.is_empty().then_some(())
        })
        .await;
        let refresh = daemon.movement("refresh").await;
        assert_eq!(refresh["status"], "successful", "{route}");
        assert_eq!(refresh["input_vtxos"], json!([old[1]]), "{route}");
        assert_eq!(daemon.balance("spendable_sat").await, kept, "{route}");
        assert_conserved(&world, &[&daemon]).await;
    }
}
