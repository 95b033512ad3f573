//! Transactions whose broadcast fails, or whose broadcast succeeds without an answer.

use serde_json::json;

use super::{Question, answer, deny, fail, lose_answer, mempool, onchain_total, payments};
use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn a_board_is_funded_once_though_the_answer_to_its_broadcast_is_lost() {
    for killed in [false, true] {
        let world = World::new().await;
        let mut daemon = Daemon::on_faulty_chain(&world).await;
        daemon.fund(&world, 50_000).await;
        let board = json!({"amount_sat": 20_000});
        if killed {
            fail(&world, Question::Broadcast, None, &lose_answer());
            daemon
                .post_and_leave("/boards/board-amount", board, async || {
                    world.chain_faults_fired() > 0 && mempool(&world).await > 0
                })
                .await;
            daemon.kill().await;
            world.no_chain_faults();
            daemon.restart(None).await;
        } else {
            fail(&world, Question::Broadcast, Some(1), &lose_answer());
            daemon.post("/boards/board-amount", board).await.ok();
        }
        assert_eq!(mempool(&world).await, 1);
        assert_eq!(daemon.balance("pending_board_sat").await, 20_000);
        world.mine(1).await;
        daemon.wait_for_spendable(20_000).await;
        daemon.settled().await;
        let history = daemon.history().await;
        assert_eq!(history.len(), 1);
        assert_eq!(history[0]["status"], "successful");
        let fee = history[0]["metadata"]["onchain_fee_sat"].as_u64().unwrap();
        daemon.post_empty("/onchain/sync").await.ok();
        assert_eq!(onchain_total(&daemon).await, 30_000 - fee);
        assert_conserved(&world, &[&daemon]).await;
    }
}

#[tokio::test]
async fn an_onchain_payment_is_made_once_though_the_answer_to_its_broadcast_is_lost() {
    let world = World::new().await;
    let faucet = world.sandbox.faucet.address().to_string();
    let mut daemon = Daemon::on_faulty_chain(&world).await;
    let mut sent = 0;
    for (path, body) in payments(&faucet) {
        for killed in [false, true] {
            daemon.fund(&world, 50_000).await;
            let before = onchain_total(&daemon).await;
            fail(&world, Question::Broadcast, Some(1), &lose_answer());
            let txid = daemon.post(path, body.clone()).await.ok()["txid"].clone();
            if killed {
                daemon.kill().await;
                daemon.restart(None).await;
            }
            assert_eq!(mempool(&world).await, 1, "{path}");
            daemon.post_empty("/onchain/sync").await.ok();
            assert_eq!(mempool(&world).await, 1, "{path}");
            world.mine(1).await;
            daemon.post_empty("/onchain/sync").await.ok();
            sent += 1;
            let transactions = daemon.get("/onchain/transactions").await.ok();
            let transactions = transactions.as_array().unwrap();
            assert_eq!(transactions.len(), 2 * sent, "{path}: {transactions:#?}");
            let mine = transactions.iter().find(|one| one["txid"] == txid).unwrap();
            assert!(!mine["confirmation"].is_null(), "{mine:#}");
            let cost = mine["balance_change_sat"].as_i64().unwrap().unsigned_abs();
            assert_eq!(onchain_total(&daemon).await, before - cost, "{path}");
            world.no_chain_faults();
        }
    }
    assert_eq!(onchain_total(&daemon).await, 0, "the last was a drain");
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_transaction_that_is_refused_for_a_while_is_broadcast_later() {
    let world = World::new().await;
    let faucet = world.sandbox.faucet.address().to_string();
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund(&world, 50_000).await;
    fail(
        &world,
        Question::Broadcast,
        Some(2),
        &answer(500, "out of order"),
    );
    let board = json!({"amount_sat": 20_000});
    daemon.post("/boards/board-amount", board).await.ok();
    assert_eq!(world.chain_faults_fired(), 2);
    world.mine(1).await;
    daemon.wait_for_spendable(20_000).await;
    for (path, body) in payments(&faucet) {
        daemon.fund(&world, 30_000).await;
        world.no_chain_faults();
        fail(
            &world,
            Question::Broadcast,
            Some(2),
            &answer(500, "out of order"),
        );
        daemon.post(path, body).await.ok();
        assert_eq!(mempool(&world).await, 0, "{path}");
        eventually("it gets out", async || {
            daemon.post_empty("/onchain/sync").await.ok();
            (mempool(&world).await == 1).then_some(())
        })
        .await;
        world.mine(1).await;
    }
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(onchain_total(&daemon).await, 0);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_transaction_that_the_chain_does_not_find_is_broadcast_again() {
    let world = World::new().await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund(&world, 50_000).await;
    let board = json!({"amount_sat": 20_000});
    daemon.post("/boards/board-amount", board).await.ok();
    eventually("its transaction is out", async || {
        let mempool = world.sandbox.chain.mempool().await.unwrap();
        (mempool.len() == 1).then_some(())
    })
    .await;
    daemon.post_empty("/onchain/sync").await.ok();
    let left = onchain_total(&daemon).await;
    assert!(left < 30_000, "{left}");
    fail(&world, Question::Transaction, None, &deny(&world));
    // The requests pass, and are counted.
    let broadcasts = Question::Broadcast.targets(&world)[0];
    let count =
        world.chain_fault(json!({"target": broadcasts, "action": {"type": "delay", "ms": 0}}));
    let broadcasts = || {
        let rules = world.sandbox.chain_proxy.active();
        let counter = rules.iter().find(|active| active.id == count);
        counter.unwrap().fired
    };
    world.mine(1).await;
    eventually("it is broadcast again", async || {
        (broadcasts() > 0).then_some(())
    })
    .await;
    let first = std::time::Instant::now();
    let seen = broadcasts();
    eventually("and again", async || {
        (broadcasts() >= seen + 2).then_some(())
    })
    .await;
    assert!(
        first.elapsed().as_secs() >= 2,
        "there is no pause between broadcasts"
    );
    assert_eq!(daemon.balance("pending_board_sat").await, 20_000);
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(onchain_total(&daemon).await, left, "the coins stay spent");
    world.no_chain_faults();
    daemon.wait_for_spendable(20_000).await;
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}
