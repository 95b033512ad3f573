//! A chain source whose answers are malformed, outdated or wrong.

use arkwalletd_sandbox::ark::Params;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::sha256;
use bitcoin::{BlockHash, Network};
use serde_json::{Value, json};

use super::{Question, answer, answer_with, assert_no_panic, fail, mempool, payments};
use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn malformed_answers_cost_nothing() {
    let world = World::new().await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    daemon.fund(&world, 30_000).await;
    let page = "<html><body>Please log in to the hotel's wireless network</body></html>";
    for action in [
        json!({"type": "cut"}),
        json!({"type": "drop_after"}),
        answer(200, page),
        answer(404, page),
        answer(502, page),
        answer(200, "{"),
        answer(200, Value::Null),
        answer(200, json!([])),
        answer(
            200,
            json!({"result": {"confirmations": "many"}, "height": -1, "hash": 7}),
        ),
    ] {
        fail(&world, Question::Everything, None, &action);
        eventually("the tip cannot be had", async || {
            (daemon.get("/bitcoin/tip").await.status == 503).then_some(())
        })
        .await;
        daemon
            .post_empty("/onchain/sync")
            .await
            .refused(503, "chain_unavailable");
        daemon.post_empty("/wallet/sync").await.ok();
        for path in [
            "/wallet/balance",
            "/onchain/balance",
            "/onchain/utxos",
            "/history",
            "/fees/onchain",
        ] {
            daemon.get(path).await.ok();
        }
        world.mine(1).await;
        world.no_chain_faults();
        eventually("the tip follows", async || {
            let tip = daemon.get("/bitcoin/tip").await;
            (tip.body["tip_height"] == world.height().await).then_some(())
        })
        .await;
        daemon.post_empty("/onchain/sync").await.ok();
    }
    daemon.board(&world, 10_000).await;
    daemon.wait_for_spendable(60_000).await;
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_board_waits_while_the_tip_stands_still() {
    let world = World::new().await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund(&world, 50_000).await;
    fail(&world, Question::Tip, None, &json!({"type": "stale"}));
    let height = world.height().await;
    let asked_again = async || {
        let fired = world.chain_faults_fired();
        eventually("the tip is asked for", async || {
            (world.chain_faults_fired() > fired).then_some(())
        })
        .await;
    };
    asked_again().await;
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 20_000}))
        .await
        .ok();
    world.mine(3).await;
    asked_again().await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(daemon.get("/bitcoin/tip").await.ok()["tip_height"], height);
    assert_eq!(daemon.balance("pending_board_sat").await, 20_000);
    world.no_chain_faults();
    daemon.wait_for_spendable(20_000).await;
    daemon.settled().await;
    assert_conserved(&world, &[&daemon]).await;
}

/// The hash and, from the Esplora API, the description of an old block.
async fn block(world: &World, height: u32) -> (String, Value) {
    let base = &world.sandbox.esplora_url;
    let get = async |path: String| {
        let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
        answer.text().await.unwrap()
    };
    let hash = get(format!("/block-height/{height}")).await;
    let blocks = get(format!("/blocks/{height}")).await;
    (hash, serde_json::from_str(&blocks).unwrap())
}

#[tokio::test]
async fn a_tip_that_goes_back_and_returns_costs_nothing() {
    let world = World::new().await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund_and_board(&world, 50_000).await;
    daemon.fund(&world, 30_000).await;
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 20_000}))
        .await
        .ok();
    let back = world.height().await - 3;
    let (hash, blocks) = block(&world, back).await;
    for (target, body) in Question::Tip
        .targets(&world)
        .iter()
        .zip([json!(hash), blocks])
    {
        world.chain_fault(json!({"target": target, "action": answer_with(&world, body)}));
    }
    eventually("the tip goes back", async || {
        let tip = daemon.get("/bitcoin/tip").await.ok();
        (tip["tip_height"] == back).then_some(())
    })
    .await;
    world.mine(1).await;
    daemon.post_empty("/wallet/sync").await.ok();
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(daemon.balance("spendable_sat").await, 50_000);
    assert_eq!(daemon.balance("pending_board_sat").await, 20_000);
    world.no_chain_faults();
    daemon.wait_for_spendable(70_000).await;
    daemon.settled().await;
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(
        daemon.get("/onchain/balance").await.ok()["trusted_pending_sat"],
        0
    );
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}

/// Fee estimates of one rate for all targets, as each chain source serves them.
fn estimates(world: &World, sat_per_vb: u32) -> Value {
    if world.is_simulated() {
        answer_with(
            world,
            json!({"1": sat_per_vb, "3": sat_per_vb, "6": sat_per_vb}),
        )
    } else {
        answer_with(
            world,
            json!({"feerate": f64::from(sat_per_vb) / 1e5, "blocks": 2}),
        )
    }
}

#[tokio::test]
async fn unusable_fee_estimates_are_ignored() {
    let world = World::new().await;
    let faucet = world.sandbox.faucet.address().to_string();
    let missing = if world.is_simulated() {
        answer(200, json!({}))
    } else {
        answer_with(
            &world,
            json!({"errors": ["Insufficient data or no feerate found"], "blocks": 0}),
        )
    };
    let cases = [
        (missing, 1),
        (answer(503, "busy"), 1),
        (estimates(&world, 0), 1),
        (estimates(&world, 100_000), 1),
        (estimates(&world, 1_000), 1_000),
    ];
    for (action, rate) in cases {
        world.no_chain_faults();
        fail(&world, Question::Fees, None, &action);
        let daemon = Daemon::on_faulty_chain(&world).await;
        let shown =
            json!({"fast_sat_per_vb": rate, "regular_sat_per_vb": rate, "slow_sat_per_vb": rate});
        eventually("the fee rates are known", async || {
            (daemon.get("/fees/onchain").await.ok() == shown).then_some(())
        })
        .await;
        daemon.fund(&world, 50_000).await;
        for (path, body) in payments(&faucet) {
            let reply = daemon.post(path, body).await;
            if rate == 1 {
                reply.ok();
            } else {
                reply.refused(400, "insufficient_funds");
                assert_eq!(mempool(&world).await, 0);
            }
        }
        if rate != 1 {
            let board = json!({"amount_sat": 20_000});
            daemon
                .post("/boards/board-amount", board)
                .await
                .refused(400, "insufficient_funds");
            assert_eq!(
                daemon.get("/onchain/balance").await.ok()["confirmed_sat"],
                50_000
            );
        }
        world.mine(1).await;
        assert_conserved(&world, &[&daemon]).await;
    }
}

fn mainnet() -> BlockHash {
    genesis_block(Network::Bitcoin).block_hash()
}

#[tokio::test]
async fn a_chain_of_another_network_is_refused_and_never_acted_on() {
    let world = World::new().await;
    let elsewhere = answer_with(&world, mainnet().to_string());
    fail(&world, Question::Genesis, None, &elsewhere);
    let mut daemon = Daemon::start().await;
    let request = json!({"network": "regtest", "ark_server": world.sandbox.ark_url, "chain_source": world.faulty_chain_source()});
    let refused = daemon.post("/wallet/create", request.clone()).await;
    let message = refused.refused(400, "unusable_chain_source");
    assert!(
        message.contains("is not on regtest: its first block is 000000000019d6"),
        "{message}"
    );
    assert!(!daemon.folder().join("mnemonic").exists());

    world.no_chain_faults();
    daemon.post("/wallet/create", request).await.ok();
    daemon.fund(&world, 50_000).await;
    assert!(daemon.stop().await.success());
    // With another network at its start, the daemon ends.
    fail(&world, Question::Genesis, None, &elsewhere);
    daemon.restart_without_waiting("nowhere");
    assert!(!daemon.wait_for_exit().await.success());
    let log = daemon.log();
    assert!(
        log.contains("Error: cannot open the wallet: the chain backend at"),
        "{log}"
    );
    // The chain source is down at the start, then serves another network.
    world.no_chain_faults();
    fail(
        &world,
        Question::Everything,
        None,
        &json!({"type": "drop_before"}),
    );
    daemon.restart(None).await;
    world.no_chain_faults();
    fail(&world, Question::Genesis, None, &elsewhere);
    eventually("the network is known", async || {
        let message = daemon
            .get("/bitcoin/tip")
            .await
            .refused(503, "chain_unavailable");
        message.contains("is not on regtest").then_some(())
    })
    .await;
    daemon
        .post_empty("/onchain/sync")
        .await
        .refused(503, "chain_unavailable");
    let faucet = world.sandbox.faucet.address().to_string();
    daemon
        .post("/onchain/drain", json!({"destination": faucet}))
        .await
        .ok();
    assert_eq!(mempool(&world).await, 0);
    // The right network again: the payment is broadcast.
    world.no_chain_faults();
    eventually("the payment gets out", async || {
        (mempool(&world).await == 1).then_some(())
    })
    .await;
    world.mine(1).await;
    assert_no_panic(&daemon);
    assert_conserved(&world, &[&daemon]).await;
}

/// On the simulated chain: an Esplora API may be run by a third party, a node is run by the operator.
#[tokio::test]
async fn impossible_blocks_are_ignored() {
    let world = World::simulated(Params::free()).await;
    let mut daemon = Daemon::on_faulty_chain(&world).await;
    daemon.fund(&world, 50_000).await;
    let (_, blocks) = block(&world, world.height().await).await;
    let with = |height: u32| {
        let mut blocks = blocks.clone();
        let mut invented = blocks[0].clone();
        invented["height"] = height.into();
        invented["id"] = "ab".repeat(32).into();
        blocks.as_array_mut().unwrap().insert(0, invented);
        blocks
    };
    let tell_blocks = |height: u32| {
        let hash = answer(200, "ab".repeat(32));
        world.one_of_chain_faults([
            json!({"target": "/blocks/tip/hash", "action": hash}),
            json!({"target": "/blocks", "action": answer(200, with(height))}),
        ]);
    };
    // Another genesis block.
    tell_blocks(0);
    daemon
        .post_empty("/onchain/sync")
        .await
        .refused(503, "chain_unavailable");
    world.no_chain_faults();
    daemon.post_empty("/onchain/sync").await.ok();
    // An impossible height, and one far in the future: payments must not be locked to it.
    for height in [4_000_000_000, 10_000_000] {
        tell_blocks(height);
        daemon.post_empty("/onchain/sync").await;
        world.no_chain_faults();
        eventually("the tip is right again", async || {
            let tip = daemon.get("/bitcoin/tip").await;
            (tip.body["tip_height"] == world.height().await).then_some(())
        })
        .await;
        let faucet = world.sandbox.faucet.address().to_string();
        let payment = json!({"destination": faucet, "amount_sat": 5_000});
        daemon.post("/onchain/send", payment).await.ok();
        assert_eq!(mempool(&world).await, 1, "{height}");
        world.mine(1).await;
        daemon.post_empty("/onchain/sync").await.ok();
        daemon.kill().await;
        daemon.restart(None).await;
        daemon.post_empty("/onchain/sync").await.ok();
        let balance = daemon.get("/onchain/balance").await.ok();
        assert_eq!(balance["confirmed_sat"], balance["total_sat"], "{height}");
    }
    let drain = json!({"destination": world.sandbox.faucet.address().to_string()});
    daemon.post("/onchain/drain", drain).await.ok();
    assert_eq!(mempool(&world).await, 1);
    world.mine(1).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// On the simulated chain, because only an Esplora API has pages.
#[tokio::test]
async fn the_order_of_lists_does_not_matter() {
    let world = World::simulated(Params::free()).await;
    let daemon = Daemon::on_faulty_chain(&world).await;
    let address = daemon.post_empty("/onchain/addresses/next").await.ok();
    let address = address["address"].as_str().unwrap();
    for _ in 0..3 {
        world.pay(address, 10_000).await;
        world.mine(1).await;
    }
    let base = &world.sandbox.esplora_url;
    let reversed = async |path: &str| {
        let list = reqwest::get(format!("{base}{path}")).await.unwrap();
        let mut list: Vec<Value> = serde_json::from_str(&list.text().await.unwrap()).unwrap();
        assert!(list.len() > 2);
        list.reverse();
        answer(200, list)
    };
    let blocks = reversed("/blocks").await;
    let transactions = reversed(&format!("/address/{address}/txs")).await;
    let script: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
    let script = script.assume_checked().script_pubkey();
    let hash = <sha256::Hash as bitcoin::hashes::Hash>::hash(script.as_bytes());
    world.chain_fault(json!({"target": "/blocks", "action": blocks}));
    world.chain_fault(json!({"target": format!("/scripthash/{hash}/txs"), "action": transactions}));
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(
        daemon.get("/onchain/balance").await.ok()["confirmed_sat"],
        30_000
    );
    eventually("the tip follows", async || {
        let tip = daemon.get("/bitcoin/tip").await.ok();
        (tip["tip_height"] == world.height().await).then_some(())
    })
    .await;
    assert!(world.chain_faults_fired() >= 2);
}
