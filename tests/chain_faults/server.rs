//! A chain source that fails during an operation with the Ark server: a receipt, a refresh, an offboard.

use std::time::Duration;

use arkwalletd_sandbox::ark::Params;
use serde_json::{Value, json};

use super::{Question, answer, assert_no_panic, deny, fail, lose_answer, mempool};
use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn a_payment_received_while_the_chain_fails_is_validated_later() {
    let world = World::new().await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 50_000).await;
    let payee = Daemon::on_faulty_chain(&world).await;
    let mut received = 0;
    for (question, action) in [
        (Question::Everything, answer(503, "busy")),
        (Question::Everything, json!({"type": "cut"})),
        (Question::Transaction, deny(&world)),
    ] {
        fail(&world, question, None, &action);
        payer.send(&payee.address().await, 1_000).await.ok();
        payee.post_empty("/wallet/sync/mailbox").await.ok();
        if received == 0 {
            assert_eq!(payee.balance("spendable_sat").await, 0, "{action}");
        }
        received += 1_000;
        world.no_chain_faults();
        world.mine(1).await;
        payee.wait_for_spendable(received).await;
    }
    assert_eq!(payee.history().await.len(), 3);
    payer.settled().await;
    assert_no_panic(&payee);
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// A server whose rounds end as soon as the daemon has joined and signed, and a daemon with 100 000 sat.
async fn scene() -> (World, Daemon) {
    let world = World::with(Params {
        round_participants: Some(1),
        round_submit_time: Duration::from_secs(2),
        round_sign_time: Duration::from_millis(700),
        ..Params::free()
    })
    .await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund_and_board(&world, 100_000).await;
    (world, daemon)
}

/// Runs rounds and mines blocks until no round is pending.
async fn until_refreshed(world: &World, daemon: &Daemon) {
    eventually("the refresh is done", async || {
        if daemon.get("/wallet/rounds").await.ok() == json!([]) {
            return Some(());
        }
        world.round().await;
        world.mine(1).await;
        daemon.post_empty("/wallet/sync").await.ok();
        None
    })
    .await;
}

#[tokio::test]
async fn a_refresh_survives_a_chain_that_fails() {
    let (world, daemon) = scene().await;
    let withhold = json!({"target": "round.commit", "times": 1, "action": {"type": "withhold"}});
    let cases: [(Question, Value, bool); 4] = [
        (Question::Everything, answer(503, "busy"), false),
        (Question::Transaction, deny(&world), false),
        (Question::Broadcast, lose_answer(), true),
        (Question::Broadcast, answer(500, "out of order"), true),
    ];
    for (question, action, ours_to_broadcast) in cases {
        daemon.post_empty("/wallet/refresh/all").await.ok();
        if ours_to_broadcast {
            world.fault(withhold.clone());
        }
        fail(&world, question, None, &action);
        world.round().await;
        world.mine(1).await;
        eventually("the chain fails", async || {
            daemon.get("/wallet/rounds").await.ok();
            daemon.get("/wallet/balance").await.ok();
            daemon.post_empty("/wallet/sync").await;
            (world.chain_faults_fired() > 0).then_some(())
        })
        .await;
        world.no_chain_faults();
        until_refreshed(&world, &daemon).await;
        world.no_faults();
        daemon.wait_for_spendable(100_000).await;
        daemon.settled().await;
        assert_conserved(&world, &[&daemon]).await;
    }
    assert_no_panic(&daemon);
}

#[tokio::test]
async fn an_onchain_address_is_paid_once_though_the_chain_fails() {
    let (world, daemon) = scene().await;
    let faucet = world.sandbox.faucet.address().to_string();
    let withhold =
        json!({"target": "offboard.persisted", "times": 1, "action": {"type": "withhold"}});
    let cases: [(Question, Value, bool); 4] = [
        (Question::Transaction, answer(503, "busy"), false),
        (Question::Transaction, deny(&world), false),
        (Question::Broadcast, lose_answer(), true),
        (Question::Broadcast, answer(500, "out of order"), true),
    ];
    for (question, action, ours_to_broadcast) in cases {
        if ours_to_broadcast {
            world.fault(withhold.clone());
        }
        fail(&world, question, None, &action);
        let payment = json!({"destination": faucet, "amount_sat": 10_000});
        let before = world.chain_faults_fired();
        daemon
            .post_and_leave("/wallet/send-onchain", payment, async || {
                world.chain_faults_fired() > before + 1
            })
            .await;
        world.no_chain_faults();
        eventually("it gets out", async || {
            daemon.post_empty("/wallet/sync").await.ok();
            (mempool(&world).await == 1).then_some(())
        })
        .await;
        world.mine(1).await;
        world.no_faults();
        daemon.settled().await;
    }
    let history = daemon.history().await;
    assert_eq!(history.len(), 5, "{history:#?}");
    let fees = history.iter().map(|one| one["offchain_fee_sat"].as_u64());
    let fees: u64 = fees.map(Option::unwrap).sum();
    daemon.wait_for_spendable(60_000 - fees).await;
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}
