//! Receiving through the mailbox (docs/protocol.md §4.3, §4.4).

use arkwalletd_sandbox::ark::Params;
use arkwalletd_sandbox::chain::Reorg;
use serde_json::json;

use crate::support::{Daemon, World, assert_conserved, eventually};

async fn pair(world: &World) -> (Daemon, Daemon) {
    let (payer, payee) = (
        Daemon::with_wallet(world).await,
        Daemon::with_wallet(world).await,
    );
    payer.fund_and_board(world, 50_000).await;
    (payer, payee)
}

#[tokio::test]
async fn a_message_that_arrives_twice_counts_once() {
    let world = World::new().await;
    let (payer, payee) = pair(&world).await;
    world.fault(json!({"target": "mailbox.post", "times": 1, "action": {"type": "duplicate"}}));
    payer.send(&payee.address().await, 1_000).await.ok();
    payee.wait_for_spendable(1_000).await;
    let checkpoint = payee.post_empty("/wallet/sync/mailbox").await.ok()["checkpoint"]
        .as_u64()
        .unwrap();
    assert!(checkpoint > 0);
    assert_eq!(payee.history().await.len(), 1);
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn payments_to_a_stopped_daemon_arrive_when_it_starts() {
    let world = World::with(Params {
        max_read_mailbox_items: 2,
        ..Params::free()
    })
    .await;
    let (payer, mut payee) = pair(&world).await;
    let to = payee.address().await;
    assert!(payee.stop().await.success());
    for _ in 0..5 {
        payer.send(&to, 1_000).await.ok();
    }
    payee.restart(None).await;
    payee.wait_for_spendable(5_000).await;
    assert_eq!(payee.history().await.len(), 5);
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// The VTXOs of several messages are validated at the same time. The payments are stored in the order of the messages, although the chain
/// answers about the first ones last.
#[tokio::test]
async fn payments_that_waited_arrive_in_their_order() {
    let world = World::new().await;
    let payer = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 50_000).await;
    let mut payee = Daemon::on_faulty_chain(&world).await;
    let to = payee.address().await;
    assert!(payee.stop().await.success());
    let amounts: Vec<u64> = (0..12).map(|number| 1_000 + number).collect();
    for sats in &amounts {
        payer.send(&to, *sats).await.ok();
    }
    let target = match world.is_simulated() {
        true => "/tx/*/outspend/*",
        false => "*",
    };
    let slow = json!({"type": "delay", "ms": 400});
    let fault = world.chain_fault(json!({"target": target, "times": 3, "action": slow}));
    payee.restart(None).await;
    payee.wait_for_spendable(amounts.iter().sum()).await;
    world.end_chain_fault(fault);
    let history = payee.history().await;
    let arrived = history.iter().rev();
    let arrived = arrived.map(|movement| movement["effective_balance_sat"].as_u64());
    let arrived: Option<Vec<u64>> = arrived.collect();
    assert_eq!(arrived, Some(amounts));
    assert_conserved(&world, &[&payer, &payee]).await;
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again() {
    let world = World::new().await;
    let (payer, payee) = pair(&world).await;
    world.fault(json!({"target": "SubscribeMailbox", "times": 3, "action": {"type": "cut_stream_after", "messages": 0}}));
    world.sandbox.ark.restart().await;
    let to = payee.address().await;
    payer.wait_for_connected(true).await;
    for _ in 0..3 {
        payer.send(&to, 1_000).await.ok();
    }
    payee.wait_for_spendable(3_000).await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// W1: a payment whose anchor is not confirmed is neither accepted nor refused; it waits.
#[tokio::test]
async fn a_payment_whose_anchor_is_not_confirmed_waits_for_the_block() {
    let world = World::new().await;
    let (payer, payee) = pair(&world).await;
    unconfirm_the_board(&world, &payer).await;
    payer.send(&payee.address().await, 1_000).await.ok();
    let read = payee.post_empty("/wallet/sync/mailbox").await.ok()["checkpoint"]
        .as_u64()
        .unwrap();
    assert!(read > 0, "the message is worked off");
    assert_eq!(payee.balance("spendable_sat").await, 0);
    assert!(payee.history().await.is_empty());
    let txid = board_txid(&payer).await;
    world.sandbox.chain.unhold(txid).await.unwrap();
    world.mine(1).await;
    payee.wait_for_spendable(1_000).await;
    assert_eq!(payee.history().await.len(), 1);
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// The funding transaction of a daemon's only board.
pub async fn board_txid(daemon: &Daemon) -> bitcoin::Txid {
    let history = daemon.history().await;
    let board = history
        .iter()
        .find(|movement| movement["subsystem"]["kind"] == "board")
        .expect("a board");
    let anchor: bitcoin::OutPoint = board["metadata"]["chain_anchor"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    anchor.txid
}

/// Takes the block with a daemon's board out of the chain; the transaction stays in the mempool.
pub async fn unconfirm_the_board(world: &World, daemon: &Daemon) {
    let txid = board_txid(daemon).await;
    let height = world
        .sandbox
        .chain
        .tx(txid)
        .await
        .unwrap()
        .unwrap()
        .block
        .unwrap()
        .height;
    let depth = world.height().await - height + 1;
    let chain = &world.sandbox.chain;
    let left_out = if world.is_simulated() {
        chain.hold(txid).await.unwrap();
        Reorg::Keep
    } else {
        // A node holds only what is in its mempool, but puts there what a reorganisation drops.
        Reorg::Drop(vec![txid])
    };
    chain.reorg(depth, left_out).await.unwrap();
    eventually("the board is unconfirmed", async || {
        world
            .sandbox
            .chain
            .tx(txid)
            .await
            .unwrap()
            .is_some_and(|tx| tx.block.is_none())
            .then_some(())
    })
    .await;
}
