//! The Ark server's copy is complete after each flow, not a sync interval later (docs/protocol.md §4.12).

use arkwalletd_sandbox::lightning::Outcome;
use serde_json::json;

use super::{mnemonic, posted_ids};
use crate::support::{Daemon, World, eventually, rounds_of};

/// A daemon whose sync interval does not end within a test.
async fn daemon(world: &World) -> Daemon {
    let seldom = [("BARK_DAEMON_SYNC_INTERVAL_SECS", "3600")];
    let daemon = Daemon::start_with(&[], &seldom).await;
    daemon.create_wallet(world).await;
    daemon
}

/// Waits until the server has the signed chains of these VTXOs, and their ids are in the recovery mailbox.
async fn copied(world: &World, daemon: &Daemon, what: &str) {
    let words = mnemonic(daemon);
    eventually(what, async || {
        // What is locked for an offboard goes from the list when that is signed.
        let ids = daemon.vtxos().await;
        assert!(!ids.is_empty());
        let posted = posted_ids(world, &words).await;
        let is_copied = |id: &String| {
            let record = world.sandbox.ark.vtxo(id.parse().unwrap()).unwrap();
            posted.contains(id) && record.is_some_and(|it| it.vtxo.has_all_witnesses())
        };
        ids.iter().all(is_copied).then_some(())
    })
    .await;
}

#[tokio::test]
async fn boards_change_and_receipts_are_copied_at_once() {
    let world = World::new().await;
    let (daemon, peer) = (daemon(&world).await, daemon(&world).await);
    daemon.fund_and_board(&world, 60_000).await;
    copied(&world, &daemon, "the board").await;
    daemon.send(&peer.address().await, 20_000).await.ok();
    copied(&world, &daemon, "the change").await;
    peer.wait_for_spendable(20_000).await;
    copied(&world, &peer, "the receipt").await;
}

#[tokio::test]
async fn the_vtxos_of_a_round_are_copied_at_once() {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let daemon = daemon(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    daemon.wait_for_spendable(60_000).await;
    copied(&world, &daemon, "the VTXO of the round").await;
}

/// The change is the wallet's while the payment is held.
#[tokio::test]
async fn what_lightning_leaves_and_brings_is_copied_at_once() {
    let world = World::new().await;
    let daemon = daemon(&world).await;
    world.pays(&daemon.invoice(20_000).await).await;
    daemon.wait_for_spendable(20_000).await;
    copied(&world, &daemon, "the Lightning receipt").await;
    let held = world.issue(5_000, Outcome::Hold);
    daemon.pay(&held.bolt11, None).await;
    world.wait_until_held(&held.hash).await;
    assert!(daemon.balance("spendable_sat").await > 10_000);
    copied(&world, &daemon, "the change of a payment under way").await;
}

/// The change is the wallet's before the transaction confirms.
#[tokio::test]
async fn the_change_of_an_onchain_payment_is_copied_at_once() {
    let world = World::new().await;
    world.fund_server(2_000_000).await;
    let daemon = daemon(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    copied(&world, &daemon, "the board").await;
    let to = daemon.post_empty("/onchain/addresses/next").await.ok();
    let body = json!({"destination": to["address"], "amount_sat": 20_000});
    daemon.post("/wallet/send-onchain", body).await.ok();
    assert!(daemon.balance("spendable_sat").await > 30_000);
    copied(&world, &daemon, "the change of an offboard").await;
}
