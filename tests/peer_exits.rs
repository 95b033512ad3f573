//! The third-party barkd 0.8.0, unchanged, leaves and comes back: the sandbox's chain and server are genuine for exits and recovery.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Daemon, World, eventually};

/// The state of the only exit, after another step of it and another block.
async fn next_state(world: &World, barkd: &Daemon) -> String {
    barkd.post("/exits/progress", json!({})).await.ok();
    world.mine(1).await;
    barkd.post_empty("/onchain/sync").await.ok();
    let exits = barkd.get("/exits/status/all").await.ok();
    let state = exits[0]["state"]["type"].as_str();
    state.expect("an exit").to_owned()
}

#[tokio::test]
async fn barkd_exits_a_payment_while_the_server_is_down() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    ours.fund_and_board(&world, 60_000).await;
    barkd.fund(&world, 50_000).await;
    ours.send(&barkd.address().await, 25_000).await.ok();
    barkd.post_empty("/wallet/sync/mailbox").await.ok();
    barkd.wait_for_spendable(25_000).await;
    world.optional_fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    barkd.post_empty("/exits/start/all").await.ok();
    eventually("the exit can be claimed", async || {
        (next_state(&world, &barkd).await == "claimable").then_some(())
    })
    .await;
    let address = barkd.post_empty("/onchain/addresses/next").await.ok();
    let claim = json!({"destination": address["address"]});
    barkd.post("/exits/claim/all", claim).await.ok();
    eventually("the exit is claimed", async || {
        (next_state(&world, &barkd).await == "claimed").then_some(())
    })
    .await;
    let address = address["address"].as_str().expect("an address");
    let received = world.received(address).await;
    assert!((24_000..25_000).contains(&received), "{received}");
    let exited = world.sandbox.ark.ledger().expect("the ledger").exited;
    assert_eq!(exited.amount.to_sat(), 25_000);
}

#[tokio::test]
async fn barkd_finds_its_vtxos_by_its_mnemonic() {
    let world = World::new().await;
    let (ours, mut barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    barkd.fund_and_board(&world, 60_000).await;
    barkd.wait_for_spendable(60_000).await;
    barkd.send(&ours.address().await, 25_000).await.ok();
    barkd.wait_for_spendable(35_000).await;
    barkd.settled().await;
    let had: BTreeSet<String> = barkd.vtxos().await.into_iter().collect();
    let mnemonic = std::fs::read_to_string(barkd.folder().join("mnemonic"));
    barkd.stop().await;

    let mnemonic = mnemonic.expect("barkd keeps it in a file");
    let again = Daemon::barkd_from(&world, mnemonic.trim()).await;
    again.wait_for_spendable(35_000).await;
    assert!(world.calls_of("RecoverVtxosByXpub") > 0);
    let has: BTreeSet<String> = again.vtxos().await.into_iter().collect();
    assert_eq!(has, had);
}
