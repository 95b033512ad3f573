//! What a refusal proves, and what it does not: coins are released, or written off, only when it is certain what became of them.

use std::path::Path;

use serde_json::{Value, json};

use super::scene;
use crate::support::{Daemon, World, assert_conserved, assert_history_adds_up, eventually};

/// Copies the database files of a daemon that is stopped.
fn copy_database(from: &Path, to: &Path) {
    for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("the file can be copied");
        }
    }
}

/// A daemon whose 50 000 sat were paid to the payee after its database was copied, and that runs on that copy; with a failpoint, if
/// one is given, that kills it there.
async fn restored(failpoint: Option<&str>) -> (World, Daemon, Daemon) {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let backup = tempfile::tempdir().expect("a folder");
    daemon.stop().await;
    copy_database(daemon.folder(), backup.path());
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    daemon.send(&payee.address().await, 50_000).await.ok();
    payee.wait_for_spendable(50_000).await;
    daemon.stop().await;
    copy_database(backup.path(), daemon.folder());
    daemon.restart(failpoint).await;
    daemon.wait_for_connected(true).await;
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    (world, daemon, payee)
}

/// H56: the server refuses the only try and reports the coins spent. Somebody with this seed has spent them: the payment ends, and
/// the wallet does not count them any more.
#[tokio::test]
async fn coins_that_a_copy_of_the_wallet_has_spent_are_written_off() {
    // The second is a payment of the same amount to another payee, which a real server answers with INTERNAL.
    for kind in ["send", "send the same amount", "send_onchain"] {
        let (world, daemon, payee) = restored(None).await;
        let to = payee.address().await;
        let (path, body) = match kind {
            "send" => (
                "/wallet/send",
                json!({"destination": to, "amount_sat": 1_000}),
            ),
            "send_onchain" => {
                let to = world.sandbox.faucet.address().to_string();
                let body = json!({"destination": to, "amount_sat": 20_000});
                ("/wallet/send-onchain", body)
            }
            _ => (
                "/wallet/send",
                json!({"destination": to, "amount_sat": 50_000}),
            ),
        };
        let reply = daemon.post(path, body).await;
        let message = reply.refused(409, "inputs_spent_elsewhere");
        assert!(message.contains("this seed"), "{kind}: {message}");
        let failed = &daemon.history().await[0];
        assert_eq!(failed["status"], "failed", "{kind}: {failed:#}");
        assert_eq!(failed["effective_balance_sat"], -50_000, "{failed:#}");
        assert!(daemon.vtxos().await.is_empty(), "{kind}");
        let facts = daemon.attention().await;
        assert_eq!(facts[0]["code"], "inputs_spent_elsewhere");
        assert_eq!(payee.balance("spendable_sat").await, 50_000);
        assert_conserved(&world, &[&daemon, &payee]).await;
    }
}

/// A server that refuses a payment, and calls its coins spent; a wallet over 60,000 sat that has tried the payment; its only VTXO.
async fn robbed() -> (World, Daemon, String) {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    let refusal = json!({"type": "status", "code": 3, "message": "bad user input: spent"});
    world.fault(json!({"target": "RequestArkoorCosign", "action": refusal}));
    let lie = json!({"type": "alter_recovery", "change": "spent"});
    world.fault(json!({"target": "recovery.state", "action": lie}));
    let to = daemon.address().await;
    let paid = daemon.send(&to, 10_000).await;
    paid.refused(409, "inputs_spent_elsewhere");
    assert_eq!(daemon.vtxo_state(&vtxo).await, "spent");
    let facts = daemon.attention().await;
    let advice = facts[0]["what_to_do"].as_str().unwrap();
    assert!(advice.contains(&vtxo), "{advice}");
    (world, daemon, vtxo)
}

/// H56: the server lies, and there is no copy. An exit by name brings the coins home, as the advice says.
#[tokio::test]
async fn coins_that_the_server_only_calls_spent_are_exited_by_name() {
    let (world, daemon, vtxo) = robbed().await;
    world.stop_server();
    let all = daemon.post_empty("/exits/start/all").await.ok();
    assert_eq!(all["started"], json!([]), "{all:#}");
    let started = daemon.exit(std::slice::from_ref(&vtxo)).await;
    assert_eq!(started["started"], json!([vtxo]), "{started:#}");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, 60_000);
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let to = daemon.claim_all(&world, &vtxo).await;
    assert!(world.received(&to).await > 59_000);
    assert_history_adds_up(&daemon).await;
}

/// H36: without its exit, it is spent again.
#[tokio::test]
async fn the_canceled_exit_of_coins_that_are_called_spent_leaves_them_spent() {
    let (_world, daemon, vtxo) = robbed().await;
    for _ in 0..2 {
        let started = daemon.exit(std::slice::from_ref(&vtxo)).await;
        assert_eq!(started["started"], json!([vtxo]), "{started:#}");
        let cancel = daemon.post_empty(&format!("/exits/cancel/{vtxo}")).await;
        cancel.ok();
        daemon.progress().await;
        assert_eq!(daemon.exit_state(&vtxo).await, "canceled");
        assert_eq!(daemon.vtxo_state(&vtxo).await, "spent");
        assert_eq!(daemon.balance("pending_exit_sat").await, 0);
        assert_history_adds_up(&daemon).await;
    }
}

/// H56: the write-off happens once, wherever the process dies.
#[tokio::test]
async fn a_kill_at_the_write_off_changes_nothing() {
    for failpoint in [
        "send.doubted.after",
        "send.aborted.before",
        "send.aborted.after",
    ] {
        let (world, mut daemon, payee) = restored(Some(failpoint)).await;
        let body = json!({"destination": payee.address().await, "amount_sat": 1_000});
        let killed = daemon.try_send("POST", "/wallet/send", Some(body)).await;
        assert!(killed.is_err(), "{failpoint}: {killed:?}");
        daemon.wait_for_exit().await;
        daemon.restart(None).await;
        daemon.settled().await;
        let failed = &daemon.history().await[0];
        assert_eq!(failed["status"], "failed", "{failpoint}: {failed:#}");
        assert_eq!(failed["effective_balance_sat"], -50_000, "{failed:#}");
        assert!(daemon.vtxos().await.is_empty(), "{failpoint}");
        let facts = daemon.attention().await;
        assert_eq!(facts[0]["code"], "inputs_spent_elsewhere");
        assert_eq!(payee.balance("spendable_sat").await, 50_000);
        assert_conserved(&world, &[&daemon, &payee]).await;
    }
}

/// H60: the first try is slow, its connection breaks, and a retry is refused without ids although the first try succeeds later.
#[tokio::test]
async fn a_refusal_while_an_earlier_try_may_run_releases_nothing() {
    for exact in [false, true] {
        let world = World::new().await;
        let payer = Daemon::with_wallet(&world).await;
        let payee = Daemon::with_wallet(&world).await;
        payer.fund_and_board(&world, 50_000).await;
        world.fault(json!({"target": "arkoor.locked", "times": 1, "action": {"type": "hold"}}));
        let refusal = json!({"type": "status", "code": 3, "message": "bad user input: not now"});
        world.fault(json!({"target": "RequestArkoorCosign", "skip": 1, "action": refusal}));
        let address = world.sandbox.faucet.address().to_string();
        let before = world.received(&address).await;
        let request = async {
            if exact {
                let body = json!({"destination": address, "amount_sat": 10_000});
                payer.post("/wallet/send-onchain", body).await
            } else {
                payer.send(&payee.address().await, 10_000).await
            }
        };
        let watch = async {
            eventually("the retries are refused", async || {
                payer.post_empty("/wallet/sync").await.ok();
                let ended = payer.history().await[0]["status"] == "failed";
                (ended || world.calls_of("RequestArkoorCosign") > 4).then_some(())
            })
            .await;
            let payment = &payer.history().await[0];
            assert_eq!(payment["status"], "pending", "{payment:#}");
            assert_eq!(payer.balance("spendable_sat").await, 0);
            assert_eq!(world.faults_fired("arkoor.locked"), 1);
            assert!(world.faults_fired("RequestArkoorCosign") > 2);
            world.no_faults();
        };
        let (reply, ()) = tokio::join!(request, watch);
        assert!([200, 202].contains(&reply.status), "{:#}", reply.body);
        payer.post_empty("/wallet/sync").await.ok();
        payer.settled().await;
        assert_eq!(payer.history().await[0]["status"], "successful");
        if exact {
            assert_eq!(world.received(&address).await - before, 10_000);
        } else {
            payee.wait_for_spendable(10_000).await;
        }
        assert_conserved(&world, &[&payer, &payee]).await;
    }
}

/// Faults with which the server takes the forfeits of an offboard, denies that it knows the offboard, and keeps its transaction back.
fn deny_the_offboard(world: &World) {
    let deny = json!({"type": "status_after", "code": 3, "message": "bad user input: unknown offboard txid"});
    world.fault(json!({"target": "FinishOffboard", "times": 1, "action": deny}));
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "offboard.persisted", "action": withhold}));
    let proof = json!({"type": "status", "code": 3, "message": "bad user input: fee rate is no longer valid"});
    world.fault(json!({"target": "PrepareOffboard", "skip": 1, "action": proof}));
}

/// Starts an offboard of everything with [`deny_the_offboard`], and waits until the server has denied it several times. Asserts that
/// nothing is released by the server's word.
pub async fn assert_locked(world: &World, daemon: &Daemon, to: &str) -> Value {
    deny_the_offboard(world);
    let body = json!({"address": to});
    let is_denied = async || world.faults_fired("FinishOffboard") > 0;
    daemon
        .post_and_leave("/wallet/offboard/all", body, is_denied)
        .await;
    eventually("the server denies the offboard repeatedly", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let ended = daemon.movement("offboard").await["status"] == "failed";
        (ended || world.faults_fired("PrepareOffboard") > 2).then_some(())
    })
    .await;
    let offboard = daemon.movement("offboard").await;
    assert_eq!(offboard["status"], "pending", "{offboard:#}");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(world.faults_fired("FinishOffboard"), 1);
    assert_eq!(world.faults_fired("offboard.persisted"), 1);
    let facts = daemon.attention().await;
    assert_eq!(facts[0]["code"], "offboard_in_doubt");
    offboard
}

/// H61: had the daemon believed the server, the user would have paid again, and both transactions would have come out.
#[tokio::test]
async fn an_offboard_that_the_server_denies_is_paid_once() {
    let (world, daemon) = scene().await;
    let to = world.sandbox.faucet.address().to_string();
    let before = world.received(&to).await;
    let offboard = assert_locked(&world, &daemon, &to).await;
    let again = daemon.post("/wallet/offboard/all", json!({"address": to}));
    again.await.refused(400, "no_vtxos");

    let published = world.sandbox.ark.publish_withheld().await;
    published.expect("the server has it");
    eventually("the payment is found on chain", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.movement("offboard").await["status"] == "successful").then_some(())
    })
    .await;
    let fee = offboard["offchain_fee_sat"].as_u64().unwrap();
    assert_eq!(world.received(&to).await - before, 80_000 - fee);
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_conserved(&world, &[&daemon]).await;
}

/// H61: a conflict that is deep in the chain proves that the transaction cannot come out any more.
#[tokio::test]
async fn an_offboard_whose_transaction_is_double_spent_releases_its_coins_when_that_is_deep() {
    let (world, mut daemon) = scene().await;
    let to = world.sandbox.faucet.address().to_string();
    let offboard = assert_locked(&world, &daemon, &to).await;
    let txid = offboard["metadata"]["offboard_txid"].as_str().unwrap();
    daemon.stop().await;
    let published = world.sandbox.ark.publish_withheld().await;
    published.expect("the server has it");
    world.mine(1).await;
    world.double_spend(txid).await;
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    world.mine(1).await;
    daemon.wait_for_tip(&world).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(daemon.movement("offboard").await["status"], "pending");

    world.mine(5).await;
    eventually("the offboard has failed", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.movement("offboard").await["status"] == "failed").then_some(())
    })
    .await;
    assert_eq!(daemon.balance("spendable_sat").await, 80_000);
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
}
