//! barkd 0.8.0, unchanged, and this daemon recover each other's wallets.

use serde_json::json;

use super::{backed_up, lost, mnemonic, recovered, restored};
use crate::support::{Daemon, World, assert_history_adds_up, eventually, rounds_of};

/// Boards, refreshes, pays and is paid; answers what is left.
async fn use_it(world: &World, daemon: &Daemon, peer: &Daemon) -> u64 {
    daemon.fund_and_board(world, 60_000).await;
    daemon.wait_for_spendable(60_000).await;
    peer.fund_and_board(world, 40_000).await;
    peer.wait_for_spendable(40_000).await;
    daemon.send(&peer.address().await, 25_000).await.ok();
    eventually("the peer is paid", async || {
        peer.post_empty("/wallet/sync/mailbox").await.ok();
        (peer.balance("spendable_sat").await == 65_000).then_some(())
    })
    .await;
    peer.send(&daemon.address().await, 5_000).await.ok();
    eventually("it is paid", async || {
        daemon.post_empty("/wallet/sync/mailbox").await.ok();
        (daemon.balance("spendable_sat").await == 40_000).then_some(())
    })
    .await;
    let vtxos = daemon.vtxos().await;
    let refresh = daemon.post("/wallet/refresh/vtxos", json!({"vtxos": [vtxos[0]]}));
    let round = async {
        eventually("the round takes place", async || {
            world.round().await.then_some(())
        })
        .await;
        world.mine(1).await;
    };
    let (reply, ()) = tokio::join!(refresh, round);
    reply.ok();
    eventually("the round is over", async || {
        world.mine(1).await;
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.balance("spendable_sat").await == 40_000).then_some(())
    })
    .await;
    daemon.settled().await;
    daemon.post_empty("/onchain/sync").await.ok();
    40_000
}

async fn world() -> World {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    world
}

#[tokio::test]
async fn a_wallet_of_barkd_is_recovered_here() {
    let world = world().await;
    let (mut barkd, peer) = (
        Daemon::barkd(&world).await,
        Daemon::with_wallet(&world).await,
    );
    let sats = use_it(&world, &barkd, &peer).await;
    let fingerprint = barkd.get("/wallet").await.ok()["fingerprint"].clone();
    let onchain = barkd.get("/onchain/balance").await.ok()["total_sat"].clone();
    let had: std::collections::BTreeSet<String> = barkd.vtxos().await.into_iter().collect();
    let words = mnemonic(&barkd);
    barkd.stop().await;

    let ours = restored(&world, &words).await;
    let report = recovered(&ours).await;
    assert_eq!(ours.get("/wallet").await.ok()["fingerprint"], fingerprint);
    let has: std::collections::BTreeSet<String> = ours.vtxos().await.into_iter().collect();
    assert_eq!(has, had, "{report:#}");
    assert_eq!(ours.balance("spendable_sat").await, sats);
    ours.post_empty("/onchain/sync").await.ok();
    assert_eq!(
        ours.get("/onchain/balance").await.ok()["total_sat"],
        onchain
    );
    assert_history_adds_up(&ours).await;
    super::assert_spends_all(&world, &ours, sats).await;
}

#[tokio::test]
async fn a_wallet_of_ours_is_recovered_by_barkd() {
    let world = world().await;
    let (mut ours, peer) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    let sats = use_it(&world, &ours, &peer).await;
    backed_up(&ours).await;
    let fingerprint = ours.get("/wallet").await.ok()["fingerprint"].clone();
    let onchain = ours.get("/onchain/balance").await.ok()["total_sat"].clone();
    let had: std::collections::BTreeSet<String> = ours.vtxos().await.into_iter().collect();
    let words = lost(&mut ours).await;

    let barkd = Daemon::barkd_from(&world, &words).await;
    barkd.wait_for_spendable(sats).await;
    assert_eq!(barkd.get("/wallet").await.ok()["fingerprint"], fingerprint);
    let has: std::collections::BTreeSet<String> = barkd.vtxos().await.into_iter().collect();
    assert_eq!(has, had);
    barkd.post_empty("/onchain/sync").await.ok();
    assert_eq!(
        barkd.get("/onchain/balance").await.ok()["total_sat"],
        onchain
    );
}
