//! Rounds that do not complete: their transaction never confirms, they are not what was asked for, or the preimage is withheld.

use std::str::FromStr;

use arkwalletd_sandbox::ark::WatchmanChange;
use bitcoin::Txid;
use serde_json::{Value, json};

use super::{OWN, scene};
use crate::support::{Daemon, World, assert_history_adds_up, eventually, rounds_of};

fn txid(text: &Value) -> Txid {
    Txid::from_str(text.as_str().expect("a transaction id")).expect("a transaction id")
}

/// A refresh whose round is issued and never confirms, 20 blocks before its input expires: the input, its expiry height, and the id of the
/// round's transaction.
async fn held_round(world: &World, daemon: &Daemon) -> (String, u32, Value) {
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    daemon.refresh_all().await;
    assert!(world.round().await);
    let funding = eventually("the round is issued", async || {
        let txid = daemon.funding_txid().await;
        txid.is_string().then_some(txid)
    })
    .await;
    let held = world.sandbox.chain.hold(txid(&funding)).await;
    held.expect("held");
    daemon.mine_to(world, expiry - 20).await;
    (vtxo, expiry, funding)
}

/// A round whose transaction never confirms: the inputs are exited before they expire, and the refresh ends. Nothing was forfeited.
#[tokio::test]
async fn the_inputs_of_a_round_that_never_confirms_are_exited_in_time() {
    let (world, daemon) = scene().await;
    let (vtxo, expiry, funding) = held_round(&world, &daemon).await;
    assert!(daemon.exits("all").await.is_empty());
    assert_eq!(daemon.balance("pending_in_round_sat").await, OWN);
    daemon.mine_to(&world, expiry - 7).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    assert!(world.height().await < expiry);
    eventually("the refresh has ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    // It confirms after all: the new VTXOs stay locked, and nothing is forfeited for them.
    world
        .sandbox
        .chain
        .unhold(txid(&funding))
        .await
        .expect("free");
    daemon.exit_until(&world, &vtxo, "claimable").await;
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, OWN);
    assert_eq!(daemon.balance("pending_in_round_sat").await, 0);
}

/// A refresh whose forfeits are given and whose preimage is withheld.
async fn withheld(claims: bool) -> (World, Daemon, String) {
    let (world, daemon) = scene().await;
    let change = WatchmanChange {
        claims: Some(claims),
        ..WatchmanChange::default()
    };
    world.sandbox.ark.change_watchman(change);
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    let withhold = json!({"type": "withhold"});
    world.fault(json!({"target": "round.forfeit.persisted", "action": withhold}));
    daemon.refresh_all().await;
    assert!(world.round().await);
    world.mine(1).await;
    eventually("the forfeits are given", async || {
        (world.faults_fired("round.forfeit.persisted") > 1).then_some(())
    })
    .await;
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    (world, daemon, vtxo)
}

/// W11: once an input is on chain, the server claims its forfeit, and so shows the preimage that it withholds.
#[tokio::test]
async fn a_withheld_preimage_is_read_from_the_claim_of_the_forfeit() {
    let (world, daemon, _) = withheld(true).await;
    for _ in 0..10 {
        daemon.next_block(&world).await;
        daemon.post_empty("/wallet/sync").await.ok();
    }
    daemon.wait_without_rounds().await;
    assert_eq!(daemon.movement("refresh").await["status"], "successful");
    assert_eq!(daemon.balance("spendable_sat").await, OWN);
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    world.no_faults();
    assert_history_adds_up(&daemon).await;
    // The new VTXO is worth something.
    let own = daemon.address().await;
    daemon.send(&own, OWN).await.ok();
}

/// W11: a forfeit that the server does not claim is the wallet's after the exit delay.
#[tokio::test]
async fn a_forfeit_that_the_server_does_not_claim_comes_back_on_chain() {
    let (world, daemon, vtxo) = withheld(false).await;
    daemon.post_empty("/onchain/sync").await.ok();
    let before = daemon.get("/onchain/balance").await.ok()["total_sat"].as_u64();
    eventually("the refresh has ended", async || {
        daemon.next_block(&world).await;
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    assert_eq!(daemon.exit_state(&vtxo).await, "claimed");
    daemon.post_empty("/onchain/sync").await.ok();
    let after = daemon.get("/onchain/balance").await.ok()["total_sat"].as_u64();
    let gained = after.unwrap() - before.unwrap();
    assert!((OWN - 1_000..OWN).contains(&gained), "{gained}");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    assert_history_adds_up(&daemon).await;
}

/// A delegated round whose tree is not what was asked for: nothing is forfeited, and the input is exited before it expires.
#[tokio::test]
async fn the_input_of_a_delegated_round_with_a_wrong_tree_is_exited_in_time() {
    let world = World::with(rounds_of(0)).await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 100_000).await;
    daemon.fund_and_board(&world, OWN).await;
    let vtxo = daemon.only_vtxo().await;
    let expiry = daemon.body(&vtxo).await.expiry_height().to_u32();
    let wrong = json!({"type": "alter_tree", "change": "wrong_amount"});
    world.fault(json!({"target": "round.proposal", "action": wrong}));
    let body = json!({"vtxos": [vtxo]});
    daemon
        .post("/wallet/refresh/delegated/vtxos", body)
        .await
        .ok();
    assert!(world.round().await);
    daemon.mine_to(&world, expiry - 20).await;
    assert!(daemon.exits("all").await.is_empty());
    daemon.mine_to(&world, expiry - 12).await;
    daemon.rescued_until(&world, &vtxo, "awaiting-delta").await;
    eventually("the refresh has ended", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.rounds().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(daemon.movement("refresh").await["status"], "failed");
    assert_eq!(world.calls_of("ForfeitVtxos"), 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, OWN);
}

/// The same for the preimage that is read from the chain.
#[tokio::test]
async fn a_withheld_preimage_is_used_once_by_a_daemon_that_is_killed() {
    for moment in ["before", "after"] {
        let (world, mut daemon, _) = withheld(true).await;
        daemon.stop().await;
        let failpoint = format!("round.unlocked.{moment}");
        daemon.restart(Some(&failpoint)).await;
        daemon.mine_until_killed(&world, 15).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        daemon.post_empty("/wallet/sync").await.ok();
        daemon.wait_without_rounds().await;
        assert_eq!(daemon.movement("refresh").await["status"], "successful");
        assert_eq!(daemon.balance("spendable_sat").await, OWN);
        assert_history_adds_up(&daemon).await;
    }
}

/// The end of a refresh whose inputs were exited is written once, wherever the process dies.
#[tokio::test]
async fn the_end_of_a_round_whose_inputs_are_exited_survives_a_kill() {
    for moment in ["before", "after"] {
        let (world, mut daemon) = scene().await;
        let (vtxo, _, _) = held_round(&world, &daemon).await;
        daemon.stop().await;
        let failpoint = format!("round.withdrawn.{moment}");
        daemon.restart(Some(&failpoint)).await;
        daemon.mine_until_killed(&world, 20).await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
        eventually("the refresh has ended", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            daemon.rounds().await.is_empty().then_some(())
        })
        .await;
        assert_eq!(daemon.movement("refresh").await["status"], "failed");
        assert_eq!(world.calls_of("ForfeitVtxos"), 0);
        assert_eq!(daemon.exits("all").await, std::slice::from_ref(&vtxo));
        // The server sees that nobody claims the VTXO of the round any more.
        let ledger = world.sandbox.ark.ledger().unwrap();
        assert_eq!([ledger.spendable.count, ledger.unclaimed.count], [0, 0]);
        assert_eq!(ledger.exited.amount.to_sat(), OWN);
        daemon.exit_until(&world, &vtxo, "claimable").await;
        daemon.claim_all(&world, &vtxo).await;
        assert_history_adds_up(&daemon).await;
    }
}
