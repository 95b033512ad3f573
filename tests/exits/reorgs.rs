//! Reorganisations and restarts in the middle of exits.

use arkwalletd_sandbox::chain::Reorg;

use super::steps::transactions_of;
use crate::support::{Daemon, World, assert_history_adds_up, eventually};

/// A wallet with a VTXO that hangs from three transactions.
async fn with_payment(world: &World) -> (Daemon, String) {
    let daemon = Daemon::with_wallet(world).await;
    daemon.fund_and_board(world, 60_000).await;
    let vtxo = daemon.pay_itself(60_000, 1).await;
    (daemon, vtxo)
}

#[tokio::test]
async fn a_reorganisation_of_three_blocks_is_followed() {
    // H25
    let world = World::new().await;
    let (daemon, vtxo) = with_payment(&world).await;
    let own = transactions_of(&daemon, &vtxo).await;
    let own = own.last().unwrap().compute_txid().to_string();
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
    daemon.next_block(&world).await;
    daemon.next_block(&world).await;
    world.unconfirm(&own, 3).await;
    daemon.wait_for_tip(&world).await;
    daemon.progress().await;
    let exit = daemon.exit_of(&vtxo).await;
    assert_eq!(exit["state"]["type"], "processing", "{exit:#}");
    let status = |index: usize| &exit["state"]["transactions"][index]["status"]["type"];
    assert_eq!(status(0), "confirmed");
    assert_ne!(status(2), "confirmed");
    // It may be mined again as soon as the wallet has broadcast it again: a real node keeps no parent without a fee.
    let chain = &world.sandbox.chain;
    chain.unhold(own.parse().unwrap()).await.unwrap();
    let exit = daemon.exit_until(&world, &vtxo, "claimable").await;
    let since = &exit["state"]["claimable_since"]["height"];
    assert_eq!(*since, world.height().await);
    daemon.claim_all(&world, &vtxo).await;
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn blocks_may_be_replaced_at_every_stage() {
    let world = World::new().await;
    let (daemon, vtxo) = with_payment(&world).await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    for _ in 0..3 {
        daemon.progress().await;
        daemon.next_block(&world).await;
        daemon.progress().await;
        let chain = &world.sandbox.chain;
        chain.reorg(2, Reorg::Keep).await.unwrap();
        daemon.next_block(&world).await;
    }
    daemon.exit_until(&world, &vtxo, "claimable").await;
    daemon.claim_all(&world, &vtxo).await;
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn an_exit_goes_on_after_a_restart() {
    // W17
    let world = World::new().await;
    let (mut daemon, vtxo) = with_payment(&world).await;
    world.stop_server();
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.progress().await;
    for _ in 0..3 {
        daemon.stop().await;
        world.mine(1).await;
        daemon.restart(None).await;
        daemon.wait_for_tip(&world).await;
        daemon.progress().await;
    }
    assert_eq!(daemon.exit_state(&vtxo).await, "awaiting-delta");
    daemon.stop().await;
    world.mine(12).await;
    daemon.restart(None).await;
    daemon.exit_until(&world, &vtxo, "claimable").await;
}

/// H25: a claim counts at once, and is watched until no reorganisation takes it back.
#[tokio::test]
async fn a_claim_that_a_reorganisation_takes_back_is_repeated() {
    let world = World::new().await;
    let (daemon, vtxo) = with_payment(&world).await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let to = daemon.claim_all(&world, &vtxo).await;
    let claim = daemon.exit_of(&vtxo).await["state"]["txid"].clone();
    let claim = claim.as_str().expect("an id").to_owned();
    daemon.next_block(&world).await;
    daemon.next_block(&world).await;
    assert_eq!(daemon.movement("start").await["status"], "successful");
    assert!(daemon.exits("live").await.is_empty());

    world.unconfirm(&claim, 3).await;
    daemon.wait_for_tip(&world).await;
    eventually("the exit is under way again", async || {
        daemon.progress().await;
        (daemon.exits("live").await == std::slice::from_ref(&vtxo)).then_some(())
    })
    .await;
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    assert_eq!(daemon.balance("pending_exit_sat").await, 60_000);
    assert_eq!(daemon.movement("start").await["status"], "pending");
    assert_history_adds_up(&daemon).await;
    world.let_in(&claim).await;
    let exit = daemon.exit_until(&world, &vtxo, "claimed").await;
    assert_eq!(exit["state"]["txid"], claim.as_str());
    assert!((59_000..60_000).contains(&world.received(&to).await));
    assert_eq!(daemon.movement("start").await["status"], "successful");
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    assert_history_adds_up(&daemon).await;
}
