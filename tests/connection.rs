//! The connection to the Ark server is lost and restored, and the daemon reports it.

use serde_json::json;

use crate::support::{Daemon, World, creation, eventually};

#[tokio::test]
async fn connected_follows_the_connection_in_both_directions() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    assert_eq!(
        daemon.get("/wallet/connected").await.ok(),
        json!({"connected": true})
    );
    world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    daemon.wait_for_connected(false).await;
    // Known state is still served; requests that need the server are refused, and nothing is started.
    daemon.get("/wallet/ark-info").await.ok();
    daemon.get("/wallet/balance").await.ok();
    daemon.address().await;
    let to = daemon.address().await;
    daemon
        .send(&to, 1_000)
        .await
        .refused(503, "server_unavailable");
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 10_000}))
        .await
        .refused(503, "server_unavailable");
    daemon
        .post_empty("/wallet/sync/mailbox")
        .await
        .refused(503, "server_unavailable");
    daemon.post_empty("/wallet/sync").await.ok();
    assert!(daemon.history().await.is_empty());
    world.no_faults();
    daemon.wait_for_connected(true).await;
    daemon.post_empty("/wallet/sync/mailbox").await.ok();
}

#[tokio::test]
async fn ark_info_is_that_of_the_server() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let info = daemon.get("/wallet/ark-info").await.ok();
    assert_eq!(info["network"], "regtest");
    assert_eq!(
        info["server_pubkey"],
        world.sandbox.ark.server_pubkey().to_string()
    );
    assert_eq!(info["vtxo_lifetime"], 432);
    assert_eq!(info["vtxo_expiry_delta"], 432);
    assert_eq!(info["vtxo_exit_delta"], 12);
    assert_eq!(info["round_interval"], "1h");
    assert!(info["max_vtxo_amount"].is_null());
    assert_eq!(
        info["fees"]["board"],
        json!({"min_fee_sat": 0, "base_fee_sat": 0, "ppm": 0})
    );
}

#[tokio::test]
async fn the_daemon_starts_without_its_server_and_connects_later() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let before = daemon.address().await;
    assert!(daemon.stop().await.success());
    world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    daemon.restart(None).await;
    assert_eq!(
        daemon.get("/wallet/connected").await.ok(),
        json!({"connected": false})
    );
    daemon
        .get("/wallet/ark-info")
        .await
        .refused(404, "never_connected");
    assert_eq!(
        daemon.get("/wallet/addresses/index/0").await.ok()["address"],
        before.as_str()
    );
    assert_ne!(daemon.address().await, before);
    world.no_faults();
    daemon.wait_for_connected(true).await;
}

#[tokio::test]
async fn the_tip_and_the_onchain_wallet_follow_the_chain() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    world.mine(3).await;
    eventually("the tip follows", async || {
        (daemon.get("/bitcoin/tip").await.ok()["tip_height"] == world.height().await).then_some(())
    })
    .await;
    let address = daemon.post_empty("/onchain/addresses/next").await.ok()["address"]
        .as_str()
        .unwrap()
        .to_owned();
    world.pay(&address, 12_345).await;
    world.mine(1).await;
    eventually("the coin shows by itself", async || {
        (daemon.get("/onchain/balance").await.ok()["confirmed_sat"] == 12_345).then_some(())
    })
    .await;
    let utxos = daemon.get("/onchain/utxos").await.ok();
    assert_eq!(utxos[0]["amount_sat"], 12_345);
    assert_eq!(utxos[0]["confirmation_height"], world.height().await);
    let sent = daemon
        .post(
            "/onchain/send",
            json!({"destination": world.sandbox.faucet.address().to_string(), "amount_sat": 5_000}),
        )
        .await
        .ok();
    let txid = sent["txid"].as_str().unwrap().parse().unwrap();
    assert!(
        world.sandbox.chain.tx(txid).await.unwrap().is_some(),
        "it is in the mempool"
    );
    let transactions = daemon.get("/onchain/transactions").await.ok();
    assert_eq!(transactions.as_array().unwrap().len(), 2);
    assert!(transactions[1]["balance_change_sat"].as_i64().unwrap() < -5_000);
    assert!(transactions[1]["confirmation"].is_null());
}

#[tokio::test]
async fn a_request_right_after_the_start_waits_for_the_connection() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let peer = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let to = peer.address().await;
    daemon.stop().await;
    world.fault(
        json!({"target": "Handshake", "times": 1, "action": {"type": "delay", "ms": 2_000}}),
    );
    daemon.restart(None).await;
    daemon.send(&to, 1_000).await.ok();
    assert_eq!(world.faults_fired("Handshake"), 1);
    peer.wait_for_spendable(1_000).await;
    daemon.stop().await;
    world.no_faults();
    world.fault(
        json!({"target": "Handshake", "times": 1, "action": {"type": "delay", "ms": 2_000}}),
    );
    daemon.restart(None).await;
    daemon.get("/fees/board?amount_sat=10000").await.ok();
    assert_eq!(world.faults_fired("Handshake"), 1);
}

#[tokio::test]
async fn a_server_whose_keys_are_not_on_disk_is_not_used() {
    // H59
    let (world, other) = (World::new().await, World::new().await);
    let mut daemon = Daemon::start().await;
    world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    let mut offline = creation(&world, world.chain_source());
    offline["force"] = true.into();
    daemon.post("/wallet/create", offline).await.ok();
    daemon.stop().await;
    let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
    let fail = "CREATE TRIGGER no_pin BEFORE UPDATE OF server_pubkey ON wallet BEGIN SELECT RAISE(ABORT, 'no'); END";
    database.execute_batch(fail).unwrap();
    world.no_faults();

    let contacts = world.calls_of("Handshake");
    daemon.restart(None).await;
    eventually("the server is asked again", async || {
        (world.calls_of("Handshake") > contacts + 1).then_some(())
    })
    .await;
    assert_eq!(
        daemon.get("/wallet/connected").await.ok(),
        json!({"connected": false})
    );
    daemon
        .post_empty("/wallet/addresses/next")
        .await
        .refused(503, "server_unavailable");
    database.execute_batch("DROP TRIGGER no_pin").unwrap();
    daemon.wait_for_connected(true).await;
    let address = daemon.address().await;

    daemon.stop().await;
    let config = daemon.folder().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains(&world.sandbox.ark_url), "{text}");
    let text = text.replace(&world.sandbox.ark_url, &other.sandbox.ark_url);
    std::fs::write(&config, text).unwrap();
    daemon.restart(None).await;
    eventually("the other server is refused", async || {
        daemon
            .log()
            .contains("its public key differs")
            .then_some(())
    })
    .await;
    assert_eq!(
        daemon.get("/wallet/connected").await.ok(),
        json!({"connected": false})
    );
    assert_eq!(
        daemon.get("/wallet/addresses/index/0").await.ok()["address"],
        address.as_str()
    );
}
