//! Boards (docs/protocol.md §4.1).

use arkwalletd_sandbox::ark::{Params, charging_fees};
use arkwalletd_sandbox::chain::Reorg;
use serde_json::json;

use crate::receiving::{board_txid, unconfirm_the_board};
use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn a_board_is_pending_until_it_is_deep_enough() {
    let world = World::with(Params {
        required_board_confirmations: 2,
        fees: charging_fees(),
        ..Params::free()
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 200_000).await;
    let board = daemon
        .post("/boards/board-amount", json!({"amount_sat": 100_000}))
        .await
        .ok();
    // max(330, 100 + 1000 ppm): 200 is below the minimum of 330.
    assert_eq!(board["amount_sat"], 99_670);
    assert_eq!(board["vtxos"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([board]));
    assert_eq!(daemon.balance("pending_board_sat").await, 99_670);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    world.mine(1).await;
    daemon.post_empty("/wallet/sync").await.ok();
    assert_eq!(
        daemon.balance("pending_board_sat").await,
        99_670,
        "one block is not enough"
    );
    world.mine(1).await;
    daemon.wait_for_spendable(99_670).await;
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([]));

    let movement = &daemon.history().await[0];
    assert_eq!(movement["status"], "successful");
    assert_eq!(
        movement["subsystem"],
        json!({"name": "bark.board", "kind": "board"})
    );
    assert_eq!(movement["intended_balance_sat"], 100_000);
    assert_eq!(movement["effective_balance_sat"], 99_670);
    assert_eq!(movement["offchain_fee_sat"], 330);
    assert!(movement["metadata"]["onchain_fee_sat"].as_u64().unwrap() > 0);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn board_all_leaves_nothing_on_chain() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 60_000).await;
    daemon.fund(&world, 40_000).await;
    let board = daemon.post_empty("/boards/board-all").await.ok();
    let amount = board["amount_sat"].as_u64().unwrap();
    assert!((99_000..100_000).contains(&amount), "{amount}");
    world.mine(1).await;
    daemon.wait_for_spendable(amount).await;
    daemon.post_empty("/onchain/sync").await.ok();
    assert_eq!(daemon.get("/onchain/balance").await.ok()["total_sat"], 0);
    let fee = daemon.history().await[0]["metadata"]["onchain_fee_sat"]
        .as_u64()
        .unwrap();
    assert_eq!(amount + fee, 100_000);
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn concurrent_boards_use_different_coins() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 30_000).await;
    daemon.fund(&world, 30_000).await;
    let board = || daemon.post("/boards/board-amount", json!({"amount_sat": 20_000}));
    let (one, other) = tokio::join!(board(), board());
    one.ok();
    other.ok();
    assert_eq!(
        daemon
            .get("/boards/pending")
            .await
            .ok()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    world.mine(1).await;
    daemon.wait_for_spendable(40_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn lost_replies_and_crashes_of_the_server_do_not_stop_a_board() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 200_000).await;
    let mut spendable = 0;
    let faults = [
        ("RequestBoardCosign", json!({"type": "drop_before"})),
        ("RequestBoardCosign", json!({"type": "drop_after"})),
        ("board.cosign", json!({"type": "crash"})),
        ("board.cosign", json!({"type": "wrong_signature"})),
        ("RegisterBoardVtxo", json!({"type": "drop_before"})),
        ("RegisterBoardVtxo", json!({"type": "drop_after"})),
        ("board.register", json!({"type": "crash"})),
    ];
    for (target, action) in faults {
        world.fault(json!({"target": target, "times": 1, "action": action}));
        daemon
            .post("/boards/board-amount", json!({"amount_sat": 10_000}))
            .await
            .ok();
        world.mine(1).await;
        spendable += 10_000;
        daemon.wait_for_spendable(spendable).await;
        world.no_faults();
        daemon.wait_for_connected(true).await;
        daemon.post_empty("/onchain/sync").await.ok();
    }
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_board_that_the_server_refuses_broadcasts_nothing_and_holds_nothing() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    world.fault(json!({"target": "RequestBoardCosign", "times": 1, "action": {"type": "status", "code": 3, "message": "no boards"}}));
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 40_000}))
        .await
        .refused(409, "server_refused");
    assert!(world.sandbox.chain.mempool().await.unwrap().is_empty());
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([]));
    assert_eq!(daemon.history().await[0]["status"], "failed");
    daemon.board(&world, 40_000).await;
    daemon.wait_for_spendable(40_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// On the simulated chain, because a real node cannot be told to forget a transaction.
#[tokio::test]
async fn a_funding_transaction_that_falls_out_of_the_chain_comes_back() {
    let world = World::simulated(Params {
        required_board_confirmations: 3,
        ..Params::free()
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 20_000}))
        .await
        .ok();
    world.mine(1).await;
    unconfirm_the_board(&world, &daemon).await;
    let txid = board_txid(&daemon).await;
    world.sandbox.chain.unhold(txid).await.unwrap();
    world.sandbox.chain.evict(txid).await.unwrap();
    daemon.post_empty("/wallet/sync").await.ok();
    eventually("the transaction is broadcast again", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        world.sandbox.chain.tx(txid).await.unwrap().map(drop)
    })
    .await;
    world.mine(3).await;
    daemon.wait_for_spendable(20_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// H7: a confirmed conflict ends the board, and nothing else.
#[tokio::test]
async fn a_board_whose_coins_were_spent_otherwise_is_written_off() {
    let world = World::with(Params {
        required_board_confirmations: 2,
        ..Params::free()
    })
    .await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 50_000).await;
    daemon
        .post("/boards/board-amount", json!({"amount_sat": 20_000}))
        .await
        .ok();
    // Another transaction spends what paid the daemon: the coin that funds the board can never exist again.
    let funding = world
        .sandbox
        .chain
        .tx(board_txid(&daemon).await)
        .await
        .unwrap()
        .unwrap()
        .tx;
    let coin = funding.input[0].previous_output;
    let source = world.sandbox.chain.tx(coin.txid).await.unwrap().unwrap();
    let rival = rival_of(&world, &source.tx).await;
    let depth = world.height().await - source.block.unwrap().height + 1;
    world
        .sandbox
        .chain
        .reorg(depth, Reorg::Replace(vec![rival]))
        .await
        .unwrap();
    world.mine(2).await;
    eventually("the board is written off", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        let pending = daemon.get("/boards/pending").await.ok();
        (pending == json!([])).then_some(())
    })
    .await;
    assert_eq!(daemon.movement("board").await["status"], "failed");
    assert_eq!(daemon.balance("pending_board_sat").await, 0);
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_conserved(&world, &[&daemon]).await;
    // New coins can be boarded.
    daemon.fund(&world, 40_000).await;
    let body = json!({"amount_sat": 20_000});
    daemon.post("/boards/board-amount", body).await.ok();
    world.mine(2).await;
    daemon.wait_for_spendable(20_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// The server's node gets transactions later than the wallet's: a board that spends the change of another one waits for it.
#[tokio::test]
async fn a_board_whose_parent_the_server_does_not_know_yet_stays_pending() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 60_000).await;
    let first = json!({"amount_sat": 20_000});
    daemon.post("/boards/board-amount", first).await.ok();
    world.fault(json!({"target": "board.funding", "action": {"type": "node_lags"}}));
    let second = json!({"amount_sat": 10_000});
    daemon
        .post_and_leave("/boards/board-amount", second, async || {
            world.faults_fired("board.funding") > 0
        })
        .await;
    eventually("the server is asked again", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (world.faults_fired("board.funding") > 4).then_some(())
    })
    .await;
    let pending = daemon.get("/boards/pending").await.ok();
    assert_eq!(pending.as_array().unwrap().len(), 2, "{pending:#}");
    world.mine(1).await;
    eventually("the second board is broadcast", async || {
        let waiting = world.sandbox.chain.mempool().await.unwrap();
        (!waiting.is_empty()).then_some(())
    })
    .await;
    world.mine(1).await;
    daemon.wait_for_spendable(30_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

/// H7: the board waits for a parent that can never confirm.
#[tokio::test]
async fn a_board_that_waits_for_a_parent_that_is_double_spent_is_given_up() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    let address = daemon.post_empty("/onchain/addresses/next").await.ok();
    world
        .pay(address["address"].as_str().unwrap(), 60_000)
        .await;
    world.mine(1).await;
    daemon.post_empty("/onchain/sync").await.ok();
    world.fault(json!({"target": "RequestBoardCosign", "action": {"type": "status", "code": 3, "message": "bad user input: unknown input tx"}}));
    let body = json!({"amount_sat": 40_000});
    daemon
        .post_and_leave("/boards/board-amount", body, async || {
            world.faults_fired("RequestBoardCosign") > 0
        })
        .await;
    eventually("the server is asked again", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (world.faults_fired("RequestBoardCosign") > 4).then_some(())
    })
    .await;
    let coin = world.sandbox.chain.unspent(&script_of(&address)).await;
    let coin = coin.unwrap().remove(0);
    let source = world.sandbox.chain.tx(coin.outpoint.txid).await.unwrap();
    let rival = rival_of(&world, &source.unwrap().tx).await;
    let replace = Reorg::Replace(vec![rival]);
    world.sandbox.chain.reorg(1, replace).await.unwrap();
    world.mine(1).await;
    eventually("the board is given up", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.movement("board").await["status"] == "failed").then_some(())
    })
    .await;
    assert_eq!(daemon.get("/boards/pending").await.ok(), json!([]));
    assert_conserved(&world, &[&daemon]).await;
}

fn script_of(address: &serde_json::Value) -> bitcoin::ScriptBuf {
    let text = address["address"].as_str().expect("an address");
    let parsed: bitcoin::Address<bitcoin::address::NetworkUnchecked> = text.parse().unwrap();
    parsed.assume_checked().script_pubkey()
}

/// A conflicting transaction that pays the faucet's coin back to the faucet.
async fn rival_of(world: &World, source: &bitcoin::Transaction) -> bitcoin::Transaction {
    let mut rival = source.clone();
    rival.output.truncate(1);
    rival.output[0].script_pubkey = world.sandbox.faucet.address().script_pubkey();
    for input in &mut rival.input {
        input.witness.clear();
    }
    let mut spent = Vec::new();
    for input in &rival.input {
        let before = world
            .sandbox
            .chain
            .tx(input.previous_output.txid)
            .await
            .unwrap()
            .unwrap()
            .tx;
        spent.push(before.output[input.previous_output.vout as usize].clone());
    }
    world.sandbox.faucet.key().sign(rival, &spent).unwrap()
}
