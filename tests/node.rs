//! What only a real node does: it restarts, changes its cookie, announces blocks.

use arkwalletd_sandbox::chain::Reorg;
use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_conserved, eventually};

/// A wallet on the node, with its cookie or its password.
async fn wallet(world: &World, source: Value, zmq: bool) -> Daemon {
    let endpoint = world.node.as_ref().expect("a node").zmq();
    let announced = [("BARK_BITCOIND_ZMQ_ADDRESS", endpoint.as_str())];
    let daemon = Daemon::start_with(&[], if zmq { &announced } else { &[] }).await;
    let request =
        json!({"network": "regtest", "ark_server": world.sandbox.ark_url, "chain_source": source});
    daemon.post("/wallet/create", request).await.ok();
    daemon
}

#[tokio::test]
#[ignore = "needs a real node; ./tests/run has one"]
async fn a_node_may_restart_and_change_its_cookie() {
    let world = World::on_node().await;
    let source = world.chain_source_with_cookie();
    let daemon = wallet(&world, source, false).await;
    daemon.fund_and_board(&world, 50_000).await;
    let node = world.node.as_ref().expect("a node");
    node.stop();
    node.start_again();
    eventually("the tip is known again", async || {
        (daemon.get("/bitcoin/tip").await.status == 200).then_some(())
    })
    .await;
    daemon.fund(&world, 30_000).await;
    daemon.board(&world, 20_000).await;
    daemon.wait_for_spendable(70_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
#[ignore = "needs a real node; ./tests/run has one"]
async fn blocks_that_the_node_announces_are_noticed() {
    let world = World::on_node().await;
    let source = world.chain_source();
    let daemon = wallet(&world, source, true).await;
    daemon.fund_and_board(&world, 50_000).await;
    daemon.wait_for_spendable(50_000).await;
}

#[tokio::test]
async fn three_blocks_may_be_replaced() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    world.mine(2).await;
    world
        .sandbox
        .chain
        .reorg(3, Reorg::Keep)
        .await
        .expect("a reorganisation");
    world.mine(1).await;
    eventually("the tip follows", async || {
        (daemon.get("/bitcoin/tip").await.ok()["tip_height"] == world.height().await).then_some(())
    })
    .await;
    let own = daemon.address().await;
    daemon.send(&own, 1_000).await.ok();
    daemon.wait_for_spendable(50_000).await;
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(
        daemon.get("/onchain/balance").await.ok()["trusted_pending_sat"],
        0
    );
    assert_conserved(&world, &[&daemon]).await;
}
