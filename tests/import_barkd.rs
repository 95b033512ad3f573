//! `arkwalletd import-barkd`: a wallet of barkd 0.8.0 is taken over with its history.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use arkwalletd_sandbox::lightning::{HoldStatus, Outcome};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Daemon, PATIENCE, SETTLE, World, charging_rounds_of, eventually, hash_of, program,
};

/// barkd after a board, payments both ways, Lightning both ways, an offboard and a round; with money on chain, too.
async fn used_barkd(world: &World, ours: &Daemon) -> Daemon {
    let barkd = Daemon::barkd(world).await;
    for daemon in [ours, &barkd] {
        daemon.fund(world, 200_000).await;
        daemon.board(world, 60_000).await;
    }
    synced(&barkd).await;
    barkd.send(&ours.address().await, 25_000).await.ok();
    ours.send(&barkd.address().await, 5_000).await.ok();
    synced(&barkd).await;
    barkd
        .pay(&world.issue(4_000, SETTLE).bolt11, None)
        .await
        .ok();
    world.pays(&barkd.invoice(7_000).await).await;
    synced(&barkd).await;
    let address = barkd.post_empty("/onchain/addresses/next").await.ok()["address"].clone();
    let body = json!({"destination": address, "amount_sat": 7_000});
    barkd.post("/wallet/send-onchain", body).await.ok();
    world.mine(1).await;
    synced(&barkd).await;
    barkd.post_empty("/wallet/refresh/all").await.ok();
    assert!(world.round().await);
    world.mine(1).await;
    eventually("the refresh is done", async || {
        barkd.post_empty("/wallet/sync").await.ok();
        let done = barkd.movement("refresh").await["status"] == "successful";
        (done && barkd.rounds().await.is_empty()).then_some(())
    })
    .await;
    synced(&barkd).await;
    barkd
}

async fn synced(daemon: &Daemon) {
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.post_empty("/onchain/sync").await.ok();
    daemon.settled().await;
}

/// Runs `arkwalletd import-barkd`.
async fn import(from: &Path, to: &Path) -> Output {
    let run = tokio::process::Command::new(program())
        .arg("--datadir")
        .arg(to)
        .args(["import-barkd", "--from"])
        .arg(from)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("it ends")
        .expect("it starts")
}

/// Asserts that an import failed and said this, and that nothing exists afterwards that did not before.
#[track_caller]
fn assert_refused(output: &Output, phrase: &str, to: &Path) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(phrase), "{stderr}");
    assert_eq!(contents(to), BTreeMap::new());
}

/// The names and the contents of the files in a folder, but for the logs of the tests.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| !path.ends_with("stderr.log"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            let content = std::fs::read(&path).expect("a file");
            (name.into_owned(), content)
        })
        .collect()
}

/// What a wallet says of itself that has to stay the same.
async fn facts(daemon: &Daemon) -> Value {
    let get = async |path: &str| daemon.get(path).await.ok();
    let vtxos = get("/wallet/vtxos?all=true").await;
    let vtxo = |it: &Value| {
        json!([
            it["id"],
            it["amount_sat"],
            it["expiry_height"],
            it["state"]["type"]
        ])
    };
    let vtxos = vtxos.as_array().unwrap().iter().map(vtxo);
    let mut vtxos: Vec<Value> = vtxos.collect();
    vtxos.sort_by_key(ToString::to_string);
    let history = get("/history").await;
    json!({
        "fingerprint": get("/wallet").await["fingerprint"],
        "spendable_sat": get("/wallet/balance").await["spendable_sat"],
        "onchain_sat": get("/onchain/balance").await["total_sat"],
        "vtxos": vtxos,
        "history": history.as_array().unwrap().iter().map(entry).collect::<Vec<_>>(),
        "first_address": get("/wallet/addresses/index/0").await,
    })
}

/// A movement, with times in milliseconds and lists of VTXOs without their order.
fn entry(movement: &Value) -> Value {
    let mut fields = serde_json::Map::new();
    for field in [
        "id",
        "status",
        "subsystem",
        "metadata",
        "intended_balance_sat",
        "effective_balance_sat",
        "offchain_fee_sat",
        "sent_to",
        "received_on",
    ] {
        fields.insert(field.to_owned(), movement[field].clone());
    }
    for field in ["input_vtxos", "output_vtxos", "exited_vtxos"] {
        let mut ids = movement[field].as_array().expect("a list").clone();
        ids.sort_by_key(ToString::to_string);
        fields.insert(field.to_owned(), Value::Array(ids));
    }
    for field in ["created_at", "updated_at", "completed_at"] {
        let time = movement["time"][field].as_str().expect("a time");
        let time = chrono::DateTime::parse_from_rfc3339(time).expect("a time");
        fields.insert(field.to_owned(), json!(time.timestamp_millis()));
    }
    Value::Object(fields)
}

#[tokio::test]
async fn a_used_wallet_is_taken_over_with_its_history() {
    let world = World::with(charging_rounds_of(1)).await;
    let ours = Daemon::with_wallet(&world).await;
    let mut barkd = used_barkd(&world, &ours).await;
    let had = facts(&barkd).await;
    barkd.stop().await;
    let before = contents(barkd.folder());

    let to = TempDir::new().unwrap();
    let done = import(barkd.folder(), to.path()).await;
    let stdout = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        stdout.contains(had["fingerprint"].as_str().unwrap()),
        "{stdout}"
    );
    assert_eq!(contents(barkd.folder()), before);

    // Everything is there before the chain or the server has answered.
    let nowhere = "http://127.0.0.1:1";
    let offline = [
        ("BARK_SERVER_ADDRESS", nowhere),
        ("BARK_ESPLORA_ADDRESS", nowhere),
    ];
    let mut taken = Daemon::start_on(to, &offline).await;
    assert_eq!(facts(&taken).await, had);
    taken.stop().await;
    taken.restart(None).await;
    taken.wait_for_connected(true).await;
    synced(&taken).await;
    assert_eq!(facts(&taken).await, had);

    // It spends what it took over, receives, and does not pay again what was paid.
    let spendable = had["spendable_sat"].as_u64().unwrap();
    taken.send(&ours.address().await, 1_000).await.ok();
    taken.wait_for_spendable(spendable - 1_000).await;
    ours.send(&taken.address().await, 2_000).await.ok();
    taken.wait_for_spendable(spendable + 1_000).await;
    let sent = entry_of(&had, "bark.lightning_send");
    let invoice = sent["sent_to"][0]["destination"]["value"].as_str();
    let invoice = invoice.unwrap();
    let again = taken.pay(invoice, None).await.ok();
    assert_eq!(again["movement_id"], sent["id"]);
    assert_eq!(taken.balance("spendable_sat").await, spendable + 1_000);
    let drained =
        json!({"destination": ours.post_empty("/onchain/addresses/next").await.ok()["address"]});
    taken.post("/onchain/drain", drained).await.ok();
}

/// Invoices that nobody had paid are paid to the new daemon: one while neither runs, one later, and one that goes on to another wallet.
#[tokio::test]
async fn invoices_that_barkd_has_open_are_paid_to_the_new_daemon() {
    let world = World::with(charging_rounds_of(0)).await;
    let payee = Daemon::with_wallet(&world).await;
    let mut barkd = Daemon::barkd(&world).await;
    barkd.fund(&world, 200_000).await;
    barkd.board(&world, 60_000).await;
    synced(&barkd).await;
    let (early, late) = (barkd.invoice(5_000).await, barkd.invoice(3_000).await);
    let forwarded = json!({"amount_sat": 4_000, "address": payee.address().await});
    let forwarded = barkd
        .post("/lightning/receives/invoice/for-address", forwarded)
        .await;
    let forwarded = forwarded.ok()["invoice"].as_str().unwrap().to_owned();
    let had = barkd.balance("spendable_sat").await;
    barkd.stop().await;
    let to = TempDir::new().unwrap();
    let done = import(barkd.folder(), to.path()).await;
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{stderr}");

    world.pays(&early).await;
    let taken = Daemon::start_on(to, &[]).await;
    taken.wait_for_connected(true).await;
    let receives = async |count: usize| {
        eventually("the receives are done", async || {
            taken.post_empty("/wallet/sync").await.ok();
            let mut history = taken.history().await;
            history.retain(|it| it["subsystem"]["name"] == "bark.lightning_receive");
            history.retain(|it| it["status"] == "successful");
            (history.len() == count).then_some(history)
        })
        .await
    };
    receives(1).await;
    world.pays(&late).await;
    world.pays(&forwarded).await;
    let history = receives(3).await;
    for invoice in [&early, &late, &forwarded] {
        assert_eq!(world.hold(&hash_of(invoice)), HoldStatus::Settled);
    }
    let gained: i64 = history
        .iter()
        .map(|it| it["effective_balance_sat"].as_i64().unwrap())
        .sum();
    taken
        .wait_for_spendable(had.strict_add_signed(gained))
        .await;
    assert!((7_000..8_000).contains(&gained), "{gained}");
    // It takes nothing that hangs from an unconfirmed transaction.
    world.mine(1).await;
    let kept = eventually("the other wallet has its money", async || {
        let history = payee.history().await;
        history
            .first()
            .map(|it| it["effective_balance_sat"].as_i64().unwrap())
    })
    .await;
    assert!((3_500..4_000).contains(&kept), "{kept}");
}

/// The entry of the history of a subsystem.
fn entry_of<'a>(facts: &'a Value, subsystem: &str) -> &'a Value {
    let mut history = facts["history"].as_array().unwrap().iter();
    let entry = history.find(|it| it["subsystem"]["name"] == subsystem);
    entry.expect("an entry")
}

/// One exit is claimed, the other canceled. What was claimed is not counted, and not exited again.
#[tokio::test]
async fn a_wallet_with_past_exits_is_taken_over() {
    let world = World::new().await;
    let mut barkd = Daemon::barkd(&world).await;
    barkd.fund(&world, 400_000).await;
    for sats in [50_000, 60_000] {
        barkd.board(&world, sats).await;
        synced(&barkd).await;
    }
    let vtxos = barkd.vtxos().await;
    for vtxo in &vtxos {
        barkd.exit(std::slice::from_ref(vtxo)).await;
    }
    let path = format!("/exits/cancel/{}", vtxos[1]);
    barkd.post_empty(&path).await.ok();
    barkd.exit_until(&world, &vtxos[0], "claimable").await;
    barkd.claim_all(&world, &vtxos[0]).await;
    synced(&barkd).await;
    let had = facts(&barkd).await;
    barkd.stop().await;

    let to = TempDir::new().unwrap();
    let done = import(barkd.folder(), to.path()).await;
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let taken = Daemon::start_on(to, &[]).await;
    taken.wait_for_connected(true).await;
    synced(&taken).await;
    taken.next_block(&world).await;
    synced(&taken).await;
    assert_eq!(facts(&taken).await, had);
    assert_eq!(taken.balance("pending_exit_sat").await, 0);
    assert!(taken.exits("all").await.is_empty());
    assert!(taken.attention().await.is_empty());
    // The other one can be exited again.
    taken.exit(&vtxos[1..]).await;
    taken.exit_until(&world, &vtxos[1], "claimable").await;
    taken.claim_all(&world, &vtxos[1]).await;
}

#[tokio::test]
async fn a_running_barkd_is_left_alone() {
    let world = World::new().await;
    let barkd = Daemon::barkd(&world).await;
    let to = TempDir::new().unwrap();
    let running = import(barkd.folder(), to.path()).await;
    assert_refused(&running, "barkd is running", to.path());
    barkd.get("/wallet/balance").await.ok();
}

#[tokio::test]
async fn what_barkd_has_under_way_is_named_and_nothing_is_taken_over() {
    let world = World::with(charging_rounds_of(1)).await;
    let mut barkd = Daemon::barkd(&world).await;
    barkd.fund(&world, 400_000).await;
    let board = json!({"amount_sat": 50_000});
    for _ in 0..3 {
        barkd.board(&world, 50_000).await;
        synced(&barkd).await;
    }
    let vtxos = barkd.vtxos().await;
    let refresh = json!({"vtxos": [vtxos[0]]});
    barkd
        .post("/wallet/refresh/delegated/vtxos", refresh)
        .await
        .ok();
    let held = world.issue(4_000, Outcome::Hold);
    let payment = json!({"destination": held.bolt11});
    barkd.post("/lightning/pay", payment).await;
    let unpaid = hash_of(&barkd.invoice(4_000).await);
    barkd.post("/boards/board-amount", board).await.ok();
    // barkd spends a VTXO although its exit has begun, so the exit comes last.
    let owned = barkd.get("/wallet/vtxos").await.ok();
    let mut owned = owned.as_array().unwrap().iter();
    let free = owned.find(|it| it["state"]["type"] == "spendable");
    let exiting = free.expect("a VTXO")["id"].as_str().unwrap();
    let exit = json!({"vtxos": [exiting]});
    barkd.post("/exits/start/vtxos", exit).await.ok();
    // As after a power cut.
    barkd.kill().await;

    let before = contents(barkd.folder());
    let to = TempDir::new().unwrap();
    let busy = import(barkd.folder(), to.path()).await;
    for phrase in [
        "barkd has not finished: ",
        &format!("exit of VTXO {exiting}"),
        "round 1",
        &format!("Lightning payment ln_pay.{}", held.hash),
        ", board ",
        "(bark.board/board)",
    ] {
        assert_refused(&busy, phrase, to.path());
    }
    let stderr = String::from_utf8_lossy(&busy.stderr);
    assert!(!stderr.contains(&unpaid), "{stderr}");
    assert_eq!(contents(barkd.folder()), before);
}

#[tokio::test]
async fn other_folders_and_other_versions_are_refused() {
    let world = World::new().await;
    let mut barkd = Daemon::barkd(&world).await;
    barkd.stop().await;
    let (from, to) = (barkd.folder(), TempDir::new().unwrap());
    let mut ours = Daemon::with_wallet(&world).await;
    ours.stop().await;
    let empty = TempDir::new().unwrap();
    for folder in [ours.folder(), empty.path(), Path::new("/no/such/folder")] {
        let refused = import(folder, to.path()).await;
        assert_refused(&refused, "is not the datadir of a barkd wallet", to.path());
    }
    let into_ours = import(from, ours.folder()).await;
    let stderr = String::from_utf8_lossy(&into_ours.stderr);
    assert_eq!(into_ours.status.code(), Some(1));
    assert!(stderr.contains("is not an empty folder"), "{stderr}");

    let set_version = |version: u32| {
        let database = rusqlite::Connection::open(from.join("db.sqlite")).unwrap();
        let sql = format!("INSERT INTO migrations (value) VALUES ({version})");
        database.execute_batch(&sql).unwrap();
    };
    set_version(43);
    let newer = import(from, to.path()).await;
    assert_refused(&newer, "newer barkd than 0.8.0", to.path());
    let database = rusqlite::Connection::open(from.join("db.sqlite")).unwrap();
    database
        .execute_batch("DELETE FROM migrations WHERE value > 41")
        .unwrap();
    drop(database);
    let older = import(from, to.path()).await;
    assert_refused(&older, "start barkd 0.8.0 on it once", to.path());
    set_version(42);
    std::fs::write(
        from.join("mnemonic"),
        format!("{}about", "abandon ".repeat(11)),
    )
    .unwrap();
    let other_seed = import(from, to.path()).await;
    assert_refused(&other_seed, "belongs to wallet 53bdf6b1", to.path());
}

#[tokio::test]
async fn the_daemon_does_not_touch_the_folder_of_barkd() {
    let world = World::new().await;
    let mut barkd = Daemon::barkd(&world).await;
    barkd.stop().await;
    let before = contents(barkd.folder());
    let run = tokio::process::Command::new(program())
        .arg("--datadir")
        .arg(barkd.folder())
        .args(["--port", "39997"])
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(PATIENCE, run).await;
    let ended = ended.expect("it ends").expect("it starts");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    let command = format!(
        "arkwalletd import-barkd --from {}",
        barkd.folder().display()
    );
    assert!(stderr.contains(&command), "{stderr}");
    assert_eq!(contents(barkd.folder()), before);
}
