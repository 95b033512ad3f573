//! Creation and deletion of the wallet.

use std::path::Path;
use std::process::ExitStatus;

use serde_json::{Value, json};

use super::matrix::{Case, Run};
use super::scene::{Scene, assert_killed};
use crate::support::{Daemon, creation, program};

/// What the wallet owns on chain, in sat.
const COINS: u64 = 50_000;

/// The victim makes a wallet with a new seed. Once the seed is on disk, the wallet is the one with this seed.
pub async fn create(run: &mut Run) {
    // The coins of a wallet that is deleted are lost.
    let mut scene = Scene::new().await.with_wrong_ledger();
    while let Some(case) = run.next_case(&mut scene).await {
        delete_wallet(&scene.victim).await.ok();
        create_in_case(&mut scene, &case, None).await;
        scene.victim.fund(&scene.world, COINS).await;
        scene.victim.stop().await;
        scene.victim.restart(None).await;
        assert_owns_coins(&scene.victim).await;
    }
}

/// The victim restores a wallet that owns coins.
pub async fn restore(run: &mut Run) {
    let mut scene = Scene::new().await;
    scene.victim.fund(&scene.world, COINS).await;
    let (words, owner) = (seed(&scene.victim), fingerprint(&scene.victim).await);
    while let Some(case) = run.next_case(&mut scene).await {
        delete_wallet(&scene.victim).await.ok();
        create_in_case(&mut scene, &case, words.as_deref()).await;
        assert_eq!(seed(&scene.victim), words);
        assert_eq!(fingerprint(&scene.victim).await, owner);
        assert_owns_coins(&scene.victim).await;
    }
}

/// Has the victim create a wallet, and checks what is left after the kill: a complete wallet, or nothing.
async fn create_in_case(scene: &mut Scene, case: &Case, words: Option<&str>) {
    scene.arm_without_wallet(case).await;
    let mut request = creation(&scene.world, scene.world.chain_source());
    request["mnemonic"] = json!(words);
    let send = async |victim: &Daemon| {
        let request = Some(request.clone());
        victim.try_send("POST", "/wallet/create", request).await
    };
    let reply = send(&scene.victim).await.ok();
    assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
    scene.wait_for_kill(case).await;
    let written = seed(&scene.victim);
    scene.restart_without_wallet(case).await;
    let found = scene.victim.get("/wallet").await.ok();
    assert_eq!(found["attention"], json!([]));
    assert_eq!(found["fingerprint"].is_null(), written.is_none());
    assert_eq!(seed(&scene.victim), written);
    let points_without_seed = [
        "wallet.create.begun",
        "wallet.create.configured",
        "wallet.create.seeded.before",
    ];
    let has_no_seed = points_without_seed.iter().any(|point| case.kills_at(point));
    assert_eq!(written.is_none(), has_no_seed, "{case}");
    if has_no_seed {
        assert_eq!(wallet_files(&scene.victim), Vec::<String>::new());
        send(&scene.victim).await.expect("an answer").ok();
    }
    scene.victim.wait_for_connected(true).await;
    let files = wallet_files(&scene.victim);
    assert!(!files.contains(&"creation.json".to_owned()), "{files:?}");
}

/// The victim deletes its wallet. It opens all of it or nothing, and the deletion can be repeated.
pub async fn delete(run: &mut Run) {
    let mut scene = Scene::new().await;
    scene.victim.fund(&scene.world, COINS).await;
    let (words, owner) = (seed(&scene.victim), fingerprint(&scene.victim).await);
    while let Some(case) = run.next_case(&mut scene).await {
        scene.arm(&case).await;
        let request = deletion(&owner);
        let reply = scene.victim.try_send("DELETE", "/wallet", request).await;
        assert_eq!(reply.is_err(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart_without_wallet(&case).await;

        let found = scene.victim.get("/wallet").await.ok();
        let codes: Vec<_> = found["attention"].as_array().unwrap().iter().collect();
        let is_over = !case.kills() || case.kills_at("wallet.delete.finished.after");
        let is_begun = !case.kills_at("wallet.delete.begun.before");
        let has_no_seed = is_over
            || case.kills_at("wallet.delete.seed_removed.after")
            || case.kills_at("wallet.delete.finished");
        assert_eq!(seed(&scene.victim).is_none(), has_no_seed, "{case}");
        if is_over {
            assert_eq!(
                found,
                json!({"fingerprint": null, "attention": [], "recovery": null})
            );
        } else if is_begun {
            assert!(found["fingerprint"].is_null(), "{case}: {found}");
            assert_eq!(codes[0]["code"], "deletion_interrupted", "{case}");
            assert_eq!(codes[0]["subject"], owner.as_str());
            let mut request = creation(&scene.world, scene.world.chain_source());
            request["mnemonic"] = json!(words);
            let created = scene.victim.post("/wallet/create", request).await;
            created.refused(409, "deletion_interrupted");
        } else {
            assert_eq!(found["fingerprint"], owner.as_str());
            assert!(codes.is_empty(), "{case}: {codes:?}");
        }
        if !has_no_seed {
            let other = scene
                .victim
                .try_send("DELETE", "/wallet", deletion("00000000"));
            let other = other.await.expect("an answer");
            assert!((400..=409).contains(&other.status), "{other:?}");
            assert_eq!(seed(&scene.victim), words);
        }
        let again = scene.victim.try_send("DELETE", "/wallet", deletion(&owner));
        again.await.expect("an answer").ok();
        assert_eq!(wallet_files(&scene.victim), Vec::<String>::new());

        let mut request = creation(&scene.world, scene.world.chain_source());
        request["mnemonic"] = json!(words);
        scene.victim.post("/wallet/create", request).await.ok();
        assert_eq!(fingerprint(&scene.victim).await, owner);
        assert_owns_coins(&scene.victim).await;
    }
}

/// A wallet of barkd is taken over. The new folder is complete, or empty as before.
pub async fn import(run: &mut Run) {
    // The coins of barkd are in no book.
    let mut scene = Scene::new().await.with_wrong_ledger();
    let mut barkd = Daemon::barkd(&scene.world).await;
    barkd.fund_and_board(&scene.world, COINS).await;
    let owner = fingerprint(&barkd).await;
    let owned = barkd.balance("spendable_sat").await;
    barkd.stop().await;
    let read = |name: &str| std::fs::read(barkd.folder().join(name)).expect("a file");
    let before = ["mnemonic", "db.sqlite", "config.toml"].map(read);
    while let Some(case) = run.next_case(&mut scene).await {
        let to = tempfile::TempDir::new().expect("a temporary folder");
        let ended = import_to(&barkd, to.path(), case.kill_point.as_deref()).await;
        if case.kills() {
            assert_killed(ended);
        }
        let is_complete = !case.kills() || case.kills_at("wallet.imported.after");
        let entries = std::fs::read_dir(to.path()).expect("a folder").count();
        assert_eq!(entries > 0, is_complete, "{case}");
        // It has a copy of the seed, which a repetition removes.
        let name = to.path().file_name().expect("a name").to_string_lossy();
        let left = to
            .path()
            .with_file_name(format!(".arkwalletd-import.{name}"));
        assert_eq!(left.exists(), case.kills(), "{case}");
        if !is_complete {
            let again = import_to(&barkd, to.path(), None).await;
            assert!(again.success(), "{again}");
            assert!(!left.exists(), "{case}");
        }
        let _ = std::fs::remove_dir_all(left);
        assert_eq!(["mnemonic", "db.sqlite", "config.toml"].map(read), before);
        let taken = Daemon::start_on(to, &[]).await;
        assert_eq!(fingerprint(&taken).await, owner);
        taken.wait_for_spendable(owned).await;
    }
}

async fn import_to(barkd: &Daemon, to: &Path, failpoint: Option<&str>) -> ExitStatus {
    let points = failpoint.map_or_else(String::new, |point| format!("{point}=return"));
    let run = tokio::process::Command::new(program())
        .arg("--datadir")
        .arg(to)
        .args(["import-barkd", "--from"])
        .arg(barkd.folder())
        .env("FAILPOINTS", points)
        .kill_on_drop(true)
        .status();
    run.await.expect("it can be run")
}

async fn assert_owns_coins(daemon: &Daemon) {
    daemon.post_empty("/onchain/sync").await.ok();
    let balance = daemon.get("/onchain/balance").await.ok();
    assert_eq!(balance["total_sat"], COINS);
}

async fn delete_wallet(daemon: &Daemon) -> crate::support::Reply {
    let request = deletion(&fingerprint(daemon).await);
    let reply = daemon.try_send("DELETE", "/wallet", request).await;
    reply.expect("an answer")
}

fn deletion(fingerprint: &str) -> Option<Value> {
    Some(json!({"dangerous": true, "fingerprint": fingerprint}))
}

async fn fingerprint(daemon: &Daemon) -> String {
    let wallet = daemon.get("/wallet").await.ok();
    wallet["fingerprint"].as_str().expect("a wallet").to_owned()
}

/// The words in the datadir.
fn seed(daemon: &Daemon) -> Option<String> {
    std::fs::read_to_string(daemon.folder().join("mnemonic")).ok()
}

/// The files in the datadir that exist only with a wallet, or with a part of one.
fn wallet_files(daemon: &Daemon) -> Vec<String> {
    let entries = std::fs::read_dir(daemon.folder()).expect("the folder is readable");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.into_string().expect("a name"))
        .filter(|name| {
            ![
                "auth_token",
                "barkd.lock",
                "LOCK",
                "debug.log",
                "stderr.log",
            ]
            .contains(&name.as_str())
        })
        .collect();
    names.sort();
    names
}
