//! A wallet is created, closed, opened, deleted and created again (docs/protocol.md §21.5, §23.3).

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, creation};

#[tokio::test]
async fn a_wallet_survives_a_restart() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 40_000).await;
    let before = (
        daemon.get("/wallet").await.ok(),
        daemon.get("/wallet/vtxos").await.ok(),
        daemon.history().await,
    );
    assert!(daemon.stop().await.success());
    daemon.restart(None).await;
    let after = (
        daemon.get("/wallet").await.ok(),
        daemon.get("/wallet/vtxos").await.ok(),
        daemon.history().await,
    );
    assert_eq!(before, after);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn only_one_wallet_at_a_time() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let again = json!({"network": "regtest", "ark_server": world.sandbox.ark_url});
    daemon
        .post("/wallet/create", again)
        .await
        .refused(400, "wallet_exists");
}

#[tokio::test]
async fn a_wallet_is_deleted_only_with_confirmation_and_can_be_created_again() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let first = daemon.get("/wallet").await.ok()["fingerprint"].clone();
    let delete = async |body: Value| {
        daemon
            .try_send("DELETE", "/wallet", Some(body))
            .await
            .unwrap()
    };
    delete(json!({"dangerous": false, "fingerprint": first}))
        .await
        .refused(400, "not_confirmed");
    delete(json!({"dangerous": true, "fingerprint": "00000000"}))
        .await
        .refused(400, "wrong_fingerprint");
    assert_eq!(daemon.get("/wallet").await.ok()["fingerprint"], first);

    std::fs::write(daemon.folder().join("notes.txt"), "mine").unwrap();
    let deleted = delete(json!({"dangerous": true, "fingerprint": first}))
        .await
        .ok();
    assert_eq!(
        (&deleted["deleted"], &deleted["fingerprint"]),
        (&json!(true), &first)
    );
    assert_eq!(
        daemon.get("/wallet").await.ok(),
        json!({"fingerprint": null, "attention": [], "recovery": null})
    );
    daemon
        .get("/wallet/balance")
        .await
        .refused(422, "no_wallet");
    let left = |name: &str| daemon.folder().join(name).exists();
    assert!(left("auth_token") && left("notes.txt"));
    assert!(!left("mnemonic") && !left("db.sqlite") && !left("config.toml"));

    std::fs::remove_file(daemon.folder().join("notes.txt")).unwrap();
    daemon.create_wallet(&world).await;
    let second = daemon.get("/wallet").await.ok()["fingerprint"].clone();
    assert_ne!(first, second);
    daemon.address().await;
}

#[tokio::test]
async fn a_known_mnemonic_gives_the_known_wallet() {
    let world = World::new().await;
    let daemon = Daemon::start().await;
    let mnemonic = format!("{}about", "abandon ".repeat(11));
    let request = |mnemonic: &str| {
        json!({
            "network": "regtest", "mnemonic": mnemonic, "ark_server": world.sandbox.ark_url,
            "chain_source": world.chain_source(),
        })
    };
    daemon
        .post("/wallet/create", request("abandon abandon"))
        .await
        .refused(400, "invalid_mnemonic");
    let made = daemon.post("/wallet/create", request(&mnemonic)).await.ok();
    assert_eq!(made["fingerprint"], "53bdf6b1");
    let onchain = daemon.post_empty("/onchain/addresses/next").await.ok();
    assert_eq!(
        onchain["address"],
        "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg"
    );
}

#[tokio::test]
async fn an_existing_configuration_is_used_with_nulls() {
    let world = World::new().await;
    let daemon = Daemon::start().await;
    let config = format!(
        "server_address = \"{}\"\nesplora_address = \"{}\"\ndaemon_sync_interval_secs = 3\n",
        world.sandbox.ark_url, world.sandbox.esplora_url
    );
    std::fs::write(daemon.folder().join("config.toml"), &config).unwrap();
    let contradiction = json!({"network": "regtest", "ark_server": world.sandbox.ark_url});
    daemon
        .post("/wallet/create", contradiction)
        .await
        .refused(400, "config_exists");
    let nulls = json!({
        "network": "regtest", "ark_server": null, "chain_source": null, "mnemonic": null, "birthday_height": null,
        "ark_server_access_token": null, "gap_limit": null,
    });
    daemon.post("/wallet/create", nulls).await.ok();
    assert_eq!(
        std::fs::read_to_string(daemon.folder().join("config.toml")).unwrap(),
        config
    );
    assert_eq!(
        daemon.get("/wallet/connected").await.ok()["connected"],
        true
    );
}

#[tokio::test]
async fn a_wallet_is_not_created_without_its_server_unless_forced() {
    let world = World::new().await;
    let daemon = Daemon::start().await;
    let mut request = json!({
        "network": "regtest", "ark_server": "http://127.0.0.1:1",
        "chain_source": world.chain_source(),
    });
    daemon
        .post("/wallet/create", request.clone())
        .await
        .refused(503, "server_unavailable");
    assert_eq!(
        daemon.get("/wallet").await.ok(),
        json!({"fingerprint": null, "attention": [], "recovery": null})
    );
    assert!(!daemon.folder().join("mnemonic").exists());
    request["force"] = json!(true);
    daemon.post("/wallet/create", request).await.ok();
    assert_eq!(
        daemon.get("/wallet/connected").await.ok(),
        json!({"connected": false})
    );
    daemon
        .post_empty("/wallet/addresses/next")
        .await
        .refused(503, "server_unavailable");
}

#[tokio::test]
async fn secrets_are_in_private_files_and_not_in_the_log() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 20_000).await;
    daemon.stop().await;
    let mnemonic = std::fs::read_to_string(daemon.folder().join("mnemonic")).unwrap();
    assert_eq!(mnemonic.split(' ').count(), 12);
    for file in ["mnemonic", "config.toml", "db.sqlite", "debug.log"] {
        let mode = std::fs::metadata(daemon.folder().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let first_words = mnemonic.split(' ').take(3).collect::<Vec<_>>().join(" ");
    for log in ["debug.log", "stderr.log"] {
        let log = std::fs::read_to_string(daemon.folder().join(log)).unwrap();
        assert!(!log.contains(&first_words) && !log.contains("ACoqKioq"));
    }
}

#[tokio::test]
async fn a_seed_without_a_database_is_shown_and_restored_by_its_words() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 30_000).await;
    let fingerprint = daemon.get("/wallet").await.ok()["fingerprint"].clone();
    daemon.stop().await;
    let words = std::fs::read_to_string(daemon.folder().join("mnemonic")).unwrap();
    for file in ["db.sqlite", "config.toml"] {
        std::fs::remove_file(daemon.folder().join(file)).unwrap();
    }

    daemon.restart(None).await;
    let found = daemon.get("/wallet").await.ok();
    assert!(found["fingerprint"].is_null());
    assert_eq!(found["attention"][0]["code"], "database_missing");
    assert_eq!(found["attention"][0]["subject"], fingerprint);
    assert!(!daemon.folder().join("db.sqlite").exists());
    let mut request = creation(&world, world.chain_source());
    let other = daemon.post("/wallet/create", request.clone()).await;
    other.refused(409, "datadir_in_use");
    request["mnemonic"] = json!(words);
    let restored = daemon.post("/wallet/create", request).await.ok();
    assert_eq!(restored["fingerprint"], fingerprint);
    daemon.post_empty("/onchain/sync").await.ok();
    let balance = daemon.get("/onchain/balance").await.ok();
    assert_eq!(balance["total_sat"], 30_000);
}

#[tokio::test]
async fn a_failed_restore_leaves_the_seed_that_was_there() {
    let world = World::new().await;
    let daemon = Daemon::start().await;
    let words = format!("{}about", "abandon ".repeat(11));
    std::fs::write(daemon.folder().join("mnemonic"), &words).unwrap();
    let request = json!({
        "network": "regtest", "mnemonic": words, "ark_server": "http://127.0.0.1:1",
        "chain_source": world.chain_source(),
    });
    let failed = daemon.post("/wallet/create", request).await;
    failed.refused(503, "server_unavailable");
    let kept = std::fs::read_to_string(daemon.folder().join("mnemonic"));
    assert_eq!(kept.unwrap(), words);
    for file in ["config.toml", "db.sqlite", "creation.json"] {
        assert!(!daemon.folder().join(file).exists(), "{file}");
    }
}

#[tokio::test]
async fn an_interrupted_creation_that_cannot_be_completed_is_shown_and_repeated() {
    let world = World::new().await;
    let mut daemon = Daemon::start().await;
    daemon.stop().await;
    daemon.restart(Some("wallet.create.seeded.after")).await;
    let request = creation(&world, world.chain_source());
    let killed = daemon.try_send("POST", "/wallet/create", Some(request.clone()));
    assert!(killed.await.is_err());
    daemon.wait_for_exit().await;
    let words = std::fs::read_to_string(daemon.folder().join("mnemonic")).unwrap();

    let outage = world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    daemon.restart(None).await;
    let found = daemon.get("/wallet").await.ok();
    assert!(found["fingerprint"].is_null());
    let fact = &found["attention"][0];
    assert_eq!(fact["code"], "creation_interrupted");
    assert!(
        daemon
            .log()
            .contains("the datadir holds a wallet that cannot be opened")
    );
    let repeated = daemon.post("/wallet/create", request.clone()).await;
    repeated.refused(503, "server_unavailable");
    world.end_fault(outage);

    let mut other = request.clone();
    other["mnemonic"] = json!(format!("{}about", "abandon ".repeat(11)));
    let other = daemon.post("/wallet/create", other).await;
    other.refused(409, "creation_interrupted");
    let made = daemon.post("/wallet/create", request).await.ok();
    assert_eq!(made["fingerprint"], fact["subject"]);
    let kept = std::fs::read_to_string(daemon.folder().join("mnemonic"));
    assert_eq!(kept.unwrap(), words);
    assert!(!daemon.folder().join("creation.json").exists());
    daemon.stop().await;
    daemon.restart(None).await;
    let opened = daemon.get("/wallet").await.ok();
    assert_eq!(
        opened,
        json!({"fingerprint": made["fingerprint"], "attention": [], "recovery": null})
    );
}
