//! The third-party barkd 0.8.0, unchanged, in the same world: the sandbox is genuine, and both wallets report the same movements.

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, charging_rounds_of, eventually};

#[tokio::test]
async fn barkd_boards_pays_us_and_is_paid_by_us() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    assert_eq!(
        barkd.get("/wallet/ark-info").await.ok(),
        without_aliases(ours.get("/wallet/ark-info").await.ok())
    );
    for daemon in [&ours, &barkd] {
        daemon.fund_and_board(&world, 60_000).await;
        daemon.wait_for_spendable(60_000).await;
    }
    assert_same_form(&ours.history().await[0], &barkd.history().await[0]);

    let to_ours = ours.address().await;
    barkd.send(&to_ours, 25_000).await.ok();
    ours.wait_for_spendable(85_000).await;
    let to_barkd = barkd.address().await;
    ours.send(&to_barkd, 5_000).await.ok();
    barkd.post_empty("/wallet/sync/mailbox").await.ok();
    barkd.wait_for_spendable(40_000).await;
    barkd.settled().await;

    // What one sent, the other received, and both report it in the same way.
    assert_same_form(&ours.movement("send").await, &barkd.movement("send").await);
    assert_same_form(
        &ours.movement("receive").await,
        &barkd.movement("receive").await,
    );
    let sent = barkd.movement("send").await;
    let received = ours.movement("receive").await;
    assert_eq!(sent["sent_to"], received["received_on"]);
    assert_conserved(&world, &[&ours, &barkd]).await;
}

#[tokio::test]
async fn barkd_receives_the_last_sat_and_sends_it_back() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    ours.fund_and_board(&world, 10_000).await;
    let (to_ours, to_barkd) = (ours.address().await, barkd.address().await);
    for sats in [1, 329, 9_670] {
        ours.send(&to_barkd, sats).await.ok();
    }
    eventually("barkd has all of it", async || {
        barkd.post_empty("/wallet/sync/mailbox").await.ok();
        (barkd.balance("spendable_sat").await == 10_000).then_some(())
    })
    .await;
    barkd.send(&to_ours, 10_000).await.ok();
    ours.wait_for_spendable(10_000).await;
    assert_conserved(&world, &[&ours, &barkd]).await;
}

/// Both have two VTXOs each, of the same values and ages, so that everything costs both the same.
async fn twins(world: &World) -> (Daemon, Daemon) {
    let (ours, barkd) = (Daemon::with_wallet(world).await, Daemon::barkd(world).await);
    for daemon in [&ours, &barkd] {
        daemon.fund(world, 200_000).await;
    }
    for sats in [60_000, 40_000] {
        let body = json!({"amount_sat": sats});
        for daemon in [&ours, &barkd] {
            daemon.post("/boards/board-amount", body.clone()).await.ok();
        }
        world.mine(1).await;
        for daemon in [&ours, &barkd] {
            daemon.settled().await;
            daemon.post_empty("/onchain/sync").await.ok();
        }
    }
    (ours, barkd)
}

/// Both ask for a refresh in the same way, and one round carries out both. `named` is how many VTXOs the request names.
async fn refresh_together(route: &str, named: usize, interactive: usize) {
    let world = World::with(charging_rounds_of(interactive)).await;
    let (ours, barkd) = twins(&world).await;
    let before = ours.balance("spendable_sat").await;
    assert_eq!(barkd.balance("spendable_sat").await, before);
    let path = format!("/wallet/refresh/{route}");
    for daemon in [&ours, &barkd] {
        let mut vtxos = daemon.vtxos().await;
        vtxos.truncate(named);
        let pending = match named {
            0 => daemon.post_empty(&path).await.ok(),
            _ => daemon.post(&path, json!({"vtxos": vtxos})).await.ok(),
        };
        assert_eq!(pending["status"]["status"], "pending", "{pending:#}");
    }
    assert!(world.round().await);
    world.mine(1).await;
    for daemon in [&ours, &barkd] {
        eventually("the refresh is done", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            let done = daemon.movement("refresh").await["status"] == "successful";
            (done && daemon.rounds().await.is_empty()).then_some(())
        })
        .await;
    }
    let (mine, theirs) = (
        ours.movement("refresh").await,
        barkd.movement("refresh").await,
    );
    assert_same_form(&mine, &theirs);
    assert!(mine["offchain_fee_sat"].as_u64().unwrap() > 0, "{mine:#}");
    assert!(mine["metadata"]["funding_txid"].is_string(), "{mine:#}");
    assert_eq!(
        mine["metadata"]["funding_txid"], theirs["metadata"]["funding_txid"],
        "both sit in the same round"
    );
    assert_eq!(
        ours.balance("spendable_sat").await,
        barkd.balance("spendable_sat").await
    );
    // What came out of the round can be spent, and by each to the other.
    let (to_ours, to_barkd) = (ours.address().await, barkd.address().await);
    let fee = mine["offchain_fee_sat"].as_u64().unwrap();
    ours.send(&to_barkd, 1_000).await.ok();
    barkd.send(&to_ours, 1_000).await.ok();
    ours.wait_for_spendable(before - fee).await;
    barkd.post_empty("/wallet/sync/mailbox").await.ok();
    barkd.wait_for_spendable(before - fee).await;
    barkd.settled().await;
    assert_conserved(&world, &[&ours, &barkd]).await;
}

#[tokio::test]
async fn barkd_refreshes_everything_in_the_same_round_as_we_do() {
    refresh_together("all", 0, 2).await;
}

#[tokio::test]
async fn barkd_refreshes_one_vtxo_in_the_same_round_as_we_do() {
    refresh_together("vtxos", 1, 2).await;
}

#[tokio::test]
async fn barkd_leaves_a_refresh_with_the_server_as_we_do() {
    refresh_together("delegated/vtxos", 2, 0).await;
}

/// Both take coins on chain in the same way. What arrives is what the estimates of both promise.
async fn go_on_chain_together(route: &str, kind: &str) {
    let world = World::with(charging_rounds_of(1)).await;
    let (ours, barkd) = twins(&world).await;
    let before = ours.balance("spendable_sat").await;
    let mut movements = Vec::new();
    for daemon in [&ours, &barkd] {
        let address = daemon.post_empty("/onchain/addresses/next").await.ok()["address"].clone();
        let to = address.as_str().expect("an address");
        let one = daemon.vtxos().await.remove(0);
        let (body, estimate) = match route {
            "offboard/vtxos" => {
                let body = json!({"vtxos": [one], "address": to});
                let estimate = daemon.post("/fees/offboard", body.clone()).await;
                (body, estimate)
            }
            "offboard/all" => {
                let path = format!("/fees/offboard-all?address={to}");
                (json!({"address": to}), daemon.get(&path).await)
            }
            _ => {
                let path = format!("/fees/send-onchain?amount_sat=7000&address={to}");
                let body = json!({"destination": to, "amount_sat": 7_000});
                (body, daemon.get(&path).await)
            }
        };
        let estimate = estimate.ok();
        let path = format!("/wallet/{route}");
        let done = daemon.post(&path, body).await.ok();
        assert!(world.knows(done["offboard_txid"].as_str().unwrap()).await);
        assert_eq!(world.received(to).await, estimate["net_amount_sat"]);
        world.mine(1).await;
        eventually("the offboard is done", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            (daemon.movement(kind).await["status"] == "successful").then_some(())
        })
        .await;
        let left = before - estimate["gross_amount_sat"].as_u64().unwrap();
        daemon.wait_for_spendable(left).await;
        let movement = daemon.movement(kind).await;
        assert_eq!(movement["offchain_fee_sat"], estimate["fee_sat"]);
        movements.push(movement);
    }
    assert_same_form(&movements[0], &movements[1]);
    let fields = |movement: &Value| -> Vec<String> {
        let metadata = movement["metadata"].as_object().expect("an object");
        metadata.keys().cloned().collect()
    };
    assert_eq!(fields(&movements[0]), fields(&movements[1]), "metadata");
    assert_conserved(&world, &[&ours, &barkd]).await;
}

#[tokio::test]
async fn barkd_offboards_one_vtxo_as_we_do() {
    go_on_chain_together("offboard/vtxos", "offboard").await;
}

#[tokio::test]
async fn barkd_offboards_everything_as_we_do() {
    go_on_chain_together("offboard/all", "offboard").await;
}

#[tokio::test]
async fn barkd_pays_an_onchain_address_as_we_do() {
    go_on_chain_together("send-onchain", "send_onchain").await;
}

/// Compares the fields that do not depend on amounts, keys and times, and the names of all fields.
#[track_caller]
fn assert_same_form(ours: &Value, theirs: &Value) {
    for field in ["status", "subsystem", "offchain_fee_sat", "exited_vtxos"] {
        assert_eq!(
            ours[field], theirs[field],
            "{field} of {ours:#} and {theirs:#}"
        );
    }
    for field in ["intended_balance_sat", "effective_balance_sat"] {
        let (ours, theirs) = (
            ours[field].as_i64().expect("a number"),
            theirs[field].as_i64().expect("a number"),
        );
        assert_eq!(ours.signum(), theirs.signum(), "{field}");
    }
    for field in ["sent_to", "received_on", "input_vtxos"] {
        let (ours, theirs) = (
            ours[field].as_array().expect("a list"),
            theirs[field].as_array().expect("a list"),
        );
        assert_eq!(ours.len(), theirs.len(), "{field}");
    }
    let fields = |movement: &Value| {
        movement
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (fields(ours), fields(theirs));
    assert!(
        theirs.iter().all(|field| ours.contains(field)),
        "ours {ours:?}, theirs {theirs:?}"
    );
}

/// Without the keys that only the prose documentation names.
fn without_aliases(mut info: Value) -> Value {
    for alias in ["pubkey", "board_fees", "lightning", "round_interval_secs"] {
        info.as_object_mut().expect("an object").remove(alias);
    }
    info
}
