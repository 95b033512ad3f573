//! The server says SPENT: the VTXO stays spent, the wallet shows that nothing else proves it, and its owner can exit it by name.

use serde_json::{Value, json};

use super::{backed_up, copy_database, lost, put_back, recovered, report, restored};
use crate::exits::steps::transactions_of;
use crate::support::{Daemon, World, assert_history_adds_up};

/// How much counts as spent on the server's word alone: VTXOs and sat.
async fn unproven(daemon: &Daemon) -> (u64, u64) {
    let report = report(daemon).await;
    let number = |field: &str| report[field].as_u64().expect("a number");
    (number("spent_unproven"), number("spent_unproven_sat"))
}

/// From now on the server says SPENT of every VTXO; answers the faults.
fn calls_all_spent(world: &World) -> [u64; 2] {
    let action = json!({"type": "alter_recovery", "change": "spent"});
    ["recovery.page", "recovery.state"]
        .map(|target| world.optional_fault(json!({"target": target, "action": action})))
}

/// A wallet over 60,000 sat that is restored while the server calls its VTXO spent; its only VTXO.
async fn robbed(world: &World) -> (Daemon, String) {
    let mut daemon = Daemon::with_wallet(world).await;
    daemon.fund_and_board(world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    let words = lost(&mut daemon).await;
    let unlisted = json!({"type": "status", "code": 12, "message": "no"});
    world.fault(json!({"target": "RecoverVtxosByXpub", "action": unlisted}));
    let action = json!({"type": "alter_recovery", "change": "spent"});
    let lie = world.fault(json!({"target": "recovery.state", "action": action}));
    let again = restored(world, &words).await;
    recovered(&again).await;
    assert!(world.fired(lie) > 0);
    again.post_empty("/onchain/sync").await.ok();
    (again, vtxo)
}

#[tokio::test]
async fn a_vtxo_that_is_called_spent_is_exited_by_name() {
    let world = World::new().await;
    let (daemon, vtxo) = robbed(&world).await;
    assert_eq!(unproven(&daemon).await, (1, 60_000));
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.vtxo_state(&vtxo).await, "spent");
    // Who restores a wallet has not seen it as spendable.
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    assert_history_adds_up(&daemon).await;

    world.stop_server();
    let all = daemon.post_empty("/exits/start/all").await.ok();
    assert_eq!(all["started"], json!([]), "{all:#}");
    let started = daemon.exit(std::slice::from_ref(&vtxo)).await;
    assert_eq!(started["started"], json!([vtxo]), "{started:#}");
    assert_eq!(unproven(&daemon).await, (0, 0));
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, 60_000);
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let to = daemon.claim_all(&world, &vtxo).await;
    assert!(world.received(&to).await > 59_000);
    assert_eq!(unproven(&daemon).await, (0, 0));
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    assert_history_adds_up(&daemon).await;
}

/// H36: without its exit, it is spent again.
#[tokio::test]
async fn a_canceled_exit_leaves_it_spent() {
    let world = World::new().await;
    let (daemon, vtxo) = robbed(&world).await;
    for _ in 0..2 {
        daemon.exit(std::slice::from_ref(&vtxo)).await;
        let again = daemon.exit(std::slice::from_ref(&vtxo)).await;
        assert_eq!(again["started"], json!([]), "{again:#}");
        let cancel = daemon.post_empty(&format!("/exits/cancel/{vtxo}")).await;
        cancel.ok();
        daemon.progress().await;
        assert_eq!(daemon.exit_state(&vtxo).await, "canceled");
        assert_eq!(daemon.vtxo_state(&vtxo).await, "spent");
        assert_eq!(unproven(&daemon).await, (1, 60_000));
        assert_eq!(daemon.balance("pending_exit_sat").await, 0);
        assert_history_adds_up(&daemon).await;
    }
}

/// After a reorganisation the exit goes on, and no payment takes the VTXO.
#[tokio::test]
async fn a_reorganisation_does_not_make_it_spendable() {
    let world = World::new().await;
    let (daemon, vtxo) = robbed(&world).await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
    let own = transactions_of(&daemon, &vtxo).await;
    let own = own.last().unwrap().compute_txid();
    world.unconfirm(&own.to_string(), 1).await;
    daemon.wait_for_tip(&world).await;
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.progress().await;
    assert_eq!(daemon.exit_state(&vtxo).await, "processing");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    world.sandbox.chain.unhold(own).await.unwrap();
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let to = daemon.claim_all(&world, &vtxo).await;
    assert!(world.received(&to).await > 59_000);
    assert_history_adds_up(&daemon).await;
}

/// The server was right: the exit ends when the checkpoint is on chain, and costs its fees.
#[tokio::test]
async fn the_exit_of_a_vtxo_that_is_spent_loses_its_fees() {
    let world = World::new().await;
    let (mut daemon, peer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    daemon.send(&peer.address().await, 60_000).await.ok();
    peer.wait_for_spendable(60_000).await;
    let words = lost(&mut daemon).await;
    let again = restored(&world, &words).await;
    recovered(&again).await;
    assert_eq!(unproven(&again).await, (1, 60_000));
    again.post_empty("/onchain/sync").await.ok();
    let before = again.get("/onchain/balance").await.ok()["total_sat"].clone();

    again.exit(std::slice::from_ref(&vtxo)).await;
    world.fund_server(100_000).await;
    let exit = again.exit_until(&world, &vtxo, "vtxo-swept").await;
    assert_eq!(exit["state"]["spent_inputs"].as_array().unwrap().len(), 1);
    let movement = again.movement("start").await;
    assert_eq!(movement["status"], "failed", "{movement:#}");
    assert_eq!(again.vtxo_state(&vtxo).await, "spent");
    assert_eq!(again.balance("pending_exit_sat").await, 0);
    assert_history_adds_up(&again).await;
    // Now it is proven, and not exited again.
    assert_eq!(unproven(&again).await, (0, 0));
    let skipped = again.exit(std::slice::from_ref(&vtxo)).await;
    assert_eq!(
        skipped["skipped"][0]["reason"], "it is spent",
        "{skipped:#}"
    );
    again.post_empty("/onchain/sync").await.ok();
    let after = again.get("/onchain/balance").await.ok()["total_sat"].clone();
    let fees = before.as_u64().unwrap() - after.as_u64().unwrap();
    assert!((1..5_000).contains(&fees), "{fees}");
    let ledger = world.sandbox.ark.ledger().unwrap();
    assert_eq!(ledger.exited.amount.to_sat(), 0);
}

/// What was spendable in an older database and is called spent is raised by name; a spend that its own change proves is not.
#[tokio::test]
async fn an_older_database_shows_what_is_called_spent() {
    let world = World::new().await;
    let (mut daemon, peer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    daemon.fund(&world, 200_000).await;
    daemon.board(&world, 60_000).await;
    daemon.board(&world, 40_000).await;
    daemon.wait_for_spendable(100_000).await;
    backed_up(&daemon).await;
    let old = daemon.vtxos().await;
    daemon.stop().await;
    copy_database(&daemon);
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    daemon.send(&peer.address().await, 25_000).await.ok();
    peer.wait_for_spendable(25_000).await;
    backed_up(&daemon).await;
    let kept: Vec<String> = daemon.vtxos().await;
    let untouched = old.iter().find(|id| kept.contains(id)).unwrap().clone();
    let sats = daemon.vtxo(&untouched).await["amount_sat"]
        .as_u64()
        .unwrap();
    daemon.stop().await;
    put_back(&daemon);
    let lies = calls_all_spent(&world);
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    let report = recovered(&daemon).await;
    assert!(lies.into_iter().any(|lie| world.fired(lie) > 0));
    assert_eq!(report["cause"], "older_database", "{report:#}");
    assert_eq!(report["spent"], kept.len() + 1, "{report:#}");
    assert_eq!(report["spent_unproven"], kept.len(), "{report:#}");
    assert_eq!(report["spent_unproven_sat"], 75_000, "{report:#}");
    let raised = daemon.attention().await;
    assert_eq!(raised.len(), 1, "{raised:#?}");
    assert_eq!(raised[0]["code"], "spent_elsewhere");
    let message = raised[0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("{untouched} ({sats} sat)")));
    assert!(
        !old.iter()
            .any(|id| *id != untouched && message.contains(id))
    );
    assert_history_adds_up(&daemon).await;

    // The way out that it names.
    daemon.exit(std::slice::from_ref(&untouched)).await;
    assert_eq!(daemon.attention().await, Vec::<Value>::new());
    daemon.exit_until(&world, &untouched, "claimable").await;
    let to = daemon.claim_all(&world, &untouched).await;
    assert!(world.received(&to).await > sats - 1_000);
    assert_history_adds_up(&daemon).await;
}
