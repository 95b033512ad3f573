//! A chain source that is overloaded, gone, or slow.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Question, answer, assert_no_panic, fail, mempool, onchain_total};
use crate::support::{Daemon, World, assert_conserved, eventually};

/// Answers that need no chain.
const KNOWN: [&str; 9] = [
    "/wallet/balance",
    "/wallet/vtxos",
    "/wallet/ark-info",
    "/onchain/balance",
    "/onchain/utxos",
    "/onchain/transactions",
    "/boards/pending",
    "/fees/onchain",
    "/history",
];

async fn all_known(daemon: &Daemon) -> Vec<Value> {
    let mut answers = Vec::new();
    for path in KNOWN {
        answers.push(daemon.get(path).await.ok());
    }
    answers
}

#[tokio::test]
async fn an_overloaded_chain_stops_only_requests_that_need_it() {
    let world = World::new().await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    daemon.fund(&world, 60_000).await;
    let mut spendable = 50_000;
    for code in [429, 503] {
        let before = all_known(&daemon).await;
        fail(&world, Question::Everything, None, &answer(code, "busy"));
        eventually("the tip cannot be had", async || {
            (daemon.get("/bitcoin/tip").await.status == 503).then_some(())
        })
        .await;
        daemon
            .get("/bitcoin/tip")
            .await
            .refused(503, "chain_unavailable");
        let message = daemon
            .post_empty("/onchain/sync")
            .await
            .refused(503, "chain_unavailable");
        assert!(message.contains("busy"), "{message}");
        assert_eq!(all_known(&daemon).await, before);
        let own = daemon.address().await;
        daemon.send(&own, 1_000).await.ok();
        let fired = world.chain_faults_fired();
        daemon
            .post_and_leave(
                "/boards/board-amount",
                json!({"amount_sat": 10_000}),
                async || {
                    daemon.balance("pending_board_sat").await == 10_000
                        && world.chain_faults_fired() > fired
                },
            )
            .await;
        assert_eq!(mempool(&world).await, 0);
        world.no_chain_faults();
        eventually("the board gets out by itself", async || {
            (mempool(&world).await == 1).then_some(())
        })
        .await;
        world.mine(1).await;
        spendable += 10_000;
        daemon.wait_for_spendable(spendable).await;
        daemon.settled().await;
    }
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_daemon_starts_without_its_chain_and_catches_up() {
    let world = World::new().await;
    let mut daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund_and_board(&world, 30_000).await;
    daemon.fund(&world, 40_000).await;
    let before = onchain_total(&daemon).await;
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 20_000}))
        .await
        .ok();
    let address = daemon.post_empty("/onchain/addresses/next").await.ok();
    let left = eventually("the board is broadcast", async || {
        let left = onchain_total(&daemon).await;
        (left < before).then_some(left)
    })
    .await;
    assert!(daemon.stop().await.success());
    fail(
        &world,
        Question::Everything,
        None,
        &json!({"type": "drop_before"}),
    );
    world
        .pay(address["address"].as_str().unwrap(), 12_345)
        .await;
    world.mine(1).await;
    daemon.restart(None).await;
    assert_eq!(daemon.balance("spendable_sat").await, 30_000);
    assert_eq!(daemon.balance("pending_board_sat").await, 20_000);
    assert_eq!(onchain_total(&daemon).await, left);
    daemon
        .get("/bitcoin/tip")
        .await
        .refused(503, "chain_unavailable");
    daemon.wait_for_connected(true).await;
    world.no_chain_faults();
    eventually("the tip is known", async || {
        let tip = daemon.get("/bitcoin/tip").await;
        (tip.status == 200 && tip.body["tip_height"] == world.height().await).then_some(())
    })
    .await;
    daemon.wait_for_spendable(50_000).await;
    daemon.settled().await;
    eventually("the coin shows by itself", async || {
        (onchain_total(&daemon).await == left + 12_345).then_some(())
    })
    .await;
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_chain_that_hangs_delays_neither_reads_nor_the_shutdown() {
    let world = World::new().await;
    let mut daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    let before = all_known(&daemon).await;
    fail(
        &world,
        Question::Everything,
        None,
        &json!({"type": "delay", "ms": 3_600_000}),
    );
    eventually("a call hangs", async || {
        (world.chain_faults_fired() > 0).then_some(())
    })
    .await;
    // A hanging call times out after ten seconds, so an answer that waited for one would take longer than this.
    let at_once = Duration::from_secs(5);
    let known = tokio::time::timeout(at_once, all_known(&daemon)).await;
    assert_eq!(known.expect("an answer at once"), before);
    let own = daemon.address().await;
    let sent = tokio::time::timeout(at_once, daemon.send(&own, 1_000)).await;
    sent.expect("paid at once").ok();
    let asked = Instant::now();
    assert!(daemon.stop().await.success());
    assert!(asked.elapsed() < at_once, "{:?}", asked.elapsed());
    let asked = Instant::now();
    daemon.restart(None).await;
    assert!(asked.elapsed() < 2 * at_once, "{:?}", asked.elapsed());
    let fired = world.chain_faults_fired();
    daemon
        .post_and_leave("/onchain/sync", json!({}), async || {
            world.chain_faults_fired() > fired
        })
        .await;
    // A request under way gets the time that the shutdown allows.
    let asked = Instant::now();
    assert!(daemon.stop().await.success());
    assert!(asked.elapsed() < 3 * at_once, "{:?}", asked.elapsed());
    world.no_chain_faults();
    daemon.restart(None).await;
    daemon.wait_for_spendable(50_000).await;
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}
