//! Payments from the on-chain wallet, and fee rates (docs/protocol.md §23.7, §23.11).

use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::chain::FeeRates;
use bitcoin::{FeeRate, Transaction};
use serde_json::{Value, json};

use crate::support::{Daemon, Reply, World, eventually};

async fn onchain_address(daemon: &Daemon) -> String {
    let answer = daemon.post_empty("/onchain/addresses/next").await.ok();
    answer["address"].as_str().unwrap().to_owned()
}

async fn send_many(daemon: &Daemon, destinations: &[String]) -> Reply {
    daemon
        .post("/onchain/send-many", json!({"destinations": destinations}))
        .await
}

async fn total(daemon: &Daemon) -> u64 {
    daemon.post_empty("/onchain/sync").await.ok();
    daemon.get("/onchain/balance").await.ok()["total_sat"]
        .as_u64()
        .unwrap()
}

/// The transaction that an answer names, if the chain has it.
async fn transaction(world: &World, answer: &Value) -> Option<Transaction> {
    let txid = answer["txid"].as_str().unwrap().parse().unwrap();
    let found = world.sandbox.chain.tx(txid).await.unwrap();
    found.map(|found| found.tx)
}

/// The fee of a daemon's newest transaction, in sat.
async fn last_fee(daemon: &Daemon) -> u64 {
    let transactions = daemon.get("/onchain/transactions").await.ok();
    let last = transactions.as_array().unwrap().last().unwrap();
    last["onchain_fee_sat"].as_u64().unwrap()
}

#[tokio::test]
async fn one_transaction_pays_many_in_the_given_order() {
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    payer.fund(&world, 100_000).await;
    let destinations = [
        format!("{}:25000 sat", onchain_address(&payee).await),
        format!("{}:0.0001 BTC", onchain_address(&payee).await),
        format!("{}:5000sat", onchain_address(&payee).await),
    ];
    let answer = send_many(&payer, &destinations).await.ok();
    let sent = transaction(&world, &answer)
        .await
        .expect("it is in the mempool");
    let amounts: Vec<u64> = sent
        .output
        .iter()
        .map(|output| output.value.to_sat())
        .collect();
    assert_eq!(amounts[..3], [25_000, 10_000, 5_000]);
    let fee = last_fee(&payer).await;
    assert_eq!(amounts.iter().sum::<u64>() + fee, 100_000);
    world.mine(1).await;
    assert_eq!(total(&payee).await, 40_000);
    assert_eq!(total(&payer).await, 60_000 - fee);
}

#[tokio::test]
async fn a_drain_leaves_nothing() {
    let world = World::new().await;
    let (payer, payee) = (
        Daemon::with_wallet(&world).await,
        Daemon::with_wallet(&world).await,
    );
    payer.fund(&world, 30_000).await;
    payer.fund(&world, 20_000).await;
    let destination = onchain_address(&payee).await;
    let answer = payer
        .post("/onchain/drain", json!({"destination": destination}))
        .await
        .ok();
    let sent = transaction(&world, &answer)
        .await
        .expect("it is in the mempool");
    assert_eq!((sent.input.len(), sent.output.len()), (2, 1));
    let fee = last_fee(&payer).await;
    world.mine(1).await;
    assert_eq!(total(&payer).await, 0);
    assert_eq!(total(&payee).await, 50_000 - fee);
    payer
        .post("/onchain/drain", json!({"destination": destination}))
        .await
        .refused(400, "insufficient_funds");
}

#[tokio::test]
async fn payments_that_cannot_be_made_are_refused_and_spend_nothing() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    let own = onchain_address(&daemon).await;
    let mainnet = "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr";
    let good = format!("{own}:1000 sat");
    for (wrong, code) in [
        (String::new(), "invalid_destination"),
        (own.clone(), "invalid_destination"),
        (format!("{own}:1000"), "invalid_amount"),
        (format!("{own}:"), "invalid_amount"),
        (format!("{own}:1000 euro"), "invalid_amount"),
        (format!("{own}:-1000 sat"), "invalid_amount"),
        (format!("{own}:0 sat"), "invalid_amount"),
        (format!("{own}:0.5 sat"), "invalid_amount"),
        (format!("{own}:21000001 BTC"), "invalid_amount"),
        (format!("{own}:21000000 BTC"), "invalid_amount"),
        (format!("{own}:20000000 BTC"), "insufficient_funds"),
        (format!("{own}:49000 sat"), "insufficient_funds"),
        (format!("{own}:329 sat"), "amount_too_small"),
        (format!("{mainnet}:1000 sat"), "wrong_network"),
        ("nonsense:1000 sat".to_owned(), "invalid_address"),
    ] {
        // One invalid destination makes the request invalid.
        send_many(&daemon, &[good.clone(), wrong])
            .await
            .refused(400, code);
    }
    send_many(&daemon, &[]).await.refused(400, "no_recipients");
    send_many(&daemon, &vec![good.clone(); 251])
        .await
        .refused(400, "too_many_recipients");
    for body in [
        json!({}),
        json!({"destinations": "x"}),
        json!({"destinations": [1]}),
    ] {
        daemon
            .post("/onchain/send-many", body)
            .await
            .refused(422, "invalid_body");
    }
    for (destination, code) in [(mainnet, "wrong_network"), ("", "invalid_address")] {
        daemon
            .post("/onchain/drain", json!({"destination": destination}))
            .await
            .refused(400, code);
    }
    assert_eq!(total(&daemon).await, 50_000);
    assert!(world.sandbox.chain.mempool().await.unwrap().is_empty());
}

/// On the simulated chain, because a real node cannot be made to refuse a valid transaction.
#[tokio::test]
async fn a_payment_that_the_network_refuses_is_broadcast_again() {
    let world = World::simulated(Params::free()).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    let faucet = world.sandbox.faucet.address().to_string();
    world
        .sandbox
        .chain
        .reject_next("not today".to_owned())
        .await
        .unwrap();
    let answer = send_many(&daemon, &[format!("{faucet}:10000 sat")])
        .await
        .ok();
    assert!(transaction(&world, &answer).await.is_none());
    daemon
        .post("/onchain/drain", json!({"destination": faucet}))
        .await
        .ok();
    eventually("it is broadcast again", async || {
        daemon.post_empty("/onchain/sync").await.ok();
        transaction(&world, &answer).await
    })
    .await;
}

/// On the simulated chain, because a real node makes its own estimates.
#[tokio::test]
async fn fee_rates_are_those_of_the_chain_and_are_paid() {
    let world = World::simulated(Params::free()).await;
    let rate = FeeRate::from_sat_per_vb_u32;
    let rates = FeeRates {
        fast: rate(10),
        regular: rate(4),
        slow: rate(2),
    };
    world.sandbox.chain.set_fee_rates(rates).await.unwrap();
    let daemon = Daemon::with_wallet(&world).await;
    eventually("the rates are known", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let shown = daemon.get("/fees/onchain").await.ok();
        (shown == json!({"fast_sat_per_vb": 10, "regular_sat_per_vb": 4, "slow_sat_per_vb": 2}))
            .then_some(())
    })
    .await;
    daemon.fund(&world, 50_000).await;
    let faucet = world.sandbox.faucet.address().to_string();
    let answer = send_many(&daemon, &[format!("{faucet}:10000 sat")])
        .await
        .ok();
    let size = transaction(&world, &answer).await.unwrap().vsize() as u64;
    let fee = last_fee(&daemon).await;
    assert!(
        (4 * size..=4 * size + 4).contains(&fee),
        "{fee} sat for {size} vB"
    );
}
