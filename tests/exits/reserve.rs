//! Coins are split so that exits go on side by side.

use crate::support::{Daemon, World};

/// P16: each transaction of an exit needs a confirmed coin of its own.
#[tokio::test]
async fn ten_exits_with_one_coin_go_on_side_by_side() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 400_000).await;
    for _ in 0..10 {
        daemon.board(&world, 20_000).await;
    }
    let question = daemon.get("/exits/fee").await.ok();
    assert_eq!(question["separate_coins"], 1, "{question:#}");
    assert_eq!(question["separate_coins_needed"], 10);
    let from = world.height().await;
    daemon.post_empty("/exits/start/all").await.ok();
    daemon.progress().await;
    let mempool = world.sandbox.chain.mempool().await.unwrap();
    assert_eq!(mempool.len(), 1, "the split");
    assert!(daemon.attention().await.is_empty());
    daemon.next_block(&world).await;
    daemon.progress().await;
    let mempool = world.sandbox.chain.mempool().await.unwrap();
    assert_eq!(mempool.len(), 20, "each with its child");
    daemon.next_block(&world).await;
    daemon.progress().await;
    for vtxo in daemon.exits("live").await {
        assert_eq!(daemon.exit_state(&vtxo).await, "awaiting-delta");
    }
    assert_eq!(world.height().await - from, 2);
    let splits = daemon.get("/onchain/transactions").await.ok();
    let splits = splits.as_array().unwrap().iter().filter(|it| {
        let cost = it["balance_change_sat"].as_i64().unwrap();
        it["onchain_fee_sat"] == -cost && it["is_cpfp"] == false
    });
    assert_eq!(splits.count(), 1);
}
