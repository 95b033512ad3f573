//! Unilateral exits: VTXOs are put on chain without the Ark server.

mod cancel;
mod claims;
mod estimates;
mod fees;
mod htlcs;
mod reorgs;
mod rescues;
mod reserve;
mod rivals;
mod routes;
pub mod steps;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Daemon, World, assert_history_adds_up, eventually};
use steps::kinds;

/// The ids of the children in an exit's status.
fn children(exit: &Value) -> Vec<String> {
    let packages = exit["transactions"].as_array().expect("a list").iter();
    packages
        .map(|package| {
            let child = &package["child"]["info"]["txid"];
            child.as_str().expect("each has a child").to_owned()
        })
        .collect()
}

/// The ids of the on-chain wallet's transactions that pay for their parents.
async fn cpfps(daemon: &Daemon) -> BTreeSet<String> {
    daemon.post_empty("/onchain/sync").await.ok();
    let all = daemon.get("/onchain/transactions").await.ok();
    let all = all.as_array().expect("a list").iter();
    let cpfps = all.filter(|it| it["is_cpfp"] == true);
    cpfps
        .map(|it| it["txid"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test]
async fn a_board_is_exited_without_the_server() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    world.stop_server();
    let started = daemon.post_empty("/exits/start/all").await.ok();
    assert_eq!(started["started"], json!([vtxo]), "{started:#}");
    assert_eq!(daemon.exit_state(&vtxo).await, "start");
    assert_eq!(daemon.balance("spendable_sat").await, 60_000);

    daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
    // H23: exited once all is confirmed.
    assert_eq!(daemon.vtxo_state(&vtxo).await, "exited");
    assert_eq!(daemon.balance("pending_exit_sat").await, 60_000);
    let exit = daemon.exit_until(&world, &vtxo, "claimable").await;
    let state = &exit["state"];
    assert_eq!(state["claimable_since"]["height"], world.height().await);
    let history = kinds(&exit["history"]);
    assert_eq!(history, ["start", "processing", "awaiting-delta"]);
    // P10: one entry for each change, none for a block.
    assert!(exit["history"].as_array().unwrap().len() <= 6, "{exit:#}");
    let children = children(&exit);
    assert_eq!(cpfps(&daemon).await, children.into_iter().collect());
    let progress = daemon.progress().await;
    assert_eq!(progress["done"], true, "{progress:#}");
    let movement = daemon.movement("start").await;
    assert_eq!(movement["status"], "pending");
    assert_eq!(movement["exited_vtxos"], json!([vtxo]));
    assert_eq!(movement["effective_balance_sat"], -60_000);
    let exited = world.sandbox.ark.ledger().expect("the ledger").exited;
    assert_eq!(exited.amount.to_sat(), 60_000);

    let to = daemon.claim_all(&world, &vtxo).await;
    let received = world.received(&to).await;
    assert!((59_000..60_000).contains(&received), "{received}");
    assert_eq!(daemon.exits("finished").await, std::slice::from_ref(&vtxo));
    assert_eq!(daemon.movement("start").await["status"], "successful");
    assert_eq!(daemon.balance("pending_exit_sat").await, 0);
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn a_chain_of_payments_is_exited_one_transaction_per_block() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.pay_itself(60_000, 2).await;
    let depth = daemon.vtxo(&vtxo).await["exit_depth"].as_u64().unwrap();
    assert_eq!(depth, 5);
    world.stop_server();
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    let from = world.height().await;
    let exit = daemon.exit_until(&world, &vtxo, "awaiting-delta").await;
    assert_eq!(u64::from(world.height().await - from), depth);
    let confirmed = exit["state"]["confirmed_block"]["height"].as_u64().unwrap();
    assert_eq!(exit["state"]["claimable_height"], confirmed + 12);
    assert_eq!(cpfps(&daemon).await, children(&exit).into_iter().collect());
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let to = daemon.claim_all(&world, &vtxo).await;
    assert!(world.received(&to).await > 59_000);
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn exits_go_on_by_themselves_while_the_server_is_down() {
    let world = World::new().await;
    let quick = [("BARK_DAEMON_SYNC_INTERVAL_SECS", "1")];
    let daemon = Daemon::start_with(&[], &quick).await;
    daemon.create_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    world.stop_server();
    daemon.post_empty("/exits/start/all").await.ok();
    eventually("its transaction is broadcast", async || {
        let mempool = world.sandbox.chain.mempool().await.unwrap();
        (mempool.len() == 2).then_some(())
    })
    .await;
    world.mine(1).await;
    eventually("it is exited", async || {
        (daemon.exit_state(&vtxo).await == "awaiting-delta").then_some(())
    })
    .await;
    world.mine(12).await;
    eventually("it can be claimed", async || {
        (daemon.exit_state(&vtxo).await == "claimable").then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_named_vtxo_is_exited() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 200_000).await;
    daemon.board(&world, 50_000).await;
    daemon.board(&world, 60_000).await;
    let vtxos = daemon.vtxos().await;
    let started = daemon.exit(&vtxos[..1]).await;
    assert_eq!(started["started"], json!(vtxos[..1]));
    daemon.exit_until(&world, &vtxos[0], "claimable").await;
    assert_eq!(daemon.exits("all").await, vtxos[..1]);
    assert_eq!(daemon.vtxos().await, vtxos[1..]);
    let left = daemon.balance("spendable_sat").await;
    assert_eq!(daemon.balance("pending_exit_sat").await + left, 110_000);
}

/// A wallet whose VTXO of 60,000 sat hangs from several transactions, the first of which its exit has broadcast, and a payee.
async fn exiting_beside_a_payee(world: &World) -> (Daemon, Daemon, String) {
    let (daemon, payee) = (
        Daemon::with_wallet(world).await,
        Daemon::with_wallet(world).await,
    );
    daemon.fund_and_board(world, 60_000).await;
    let vtxo = daemon.pay_itself(60_000, 1).await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.progress().await;
    (daemon, payee, vtxo)
}

#[tokio::test]
async fn a_vtxo_that_is_spent_meanwhile_is_not_exited() {
    // H24
    let world = World::new().await;
    let (daemon, payee, vtxo) = exiting_beside_a_payee(&world).await;
    assert_eq!(daemon.exit_state(&vtxo).await, "processing");
    daemon.send(&payee.address().await, 60_000).await.ok();
    payee.wait_for_spendable(60_000).await;
    daemon.progress().await;
    assert_eq!(daemon.exit_state(&vtxo).await, "vtxo-already-spent");
    let movement = daemon.movement("start").await;
    assert_eq!(movement["status"], "canceled");
    assert_history_adds_up(&daemon).await;
}

/// H26: the network has the child of an exit that ends early. Its coins are held until the chain has decided, and no longer.
#[tokio::test]
async fn the_coins_of_an_exit_that_ends_early_are_not_held_for_ever() {
    let world = World::new().await;
    let (daemon, payee, vtxo) = exiting_beside_a_payee(&world).await;
    daemon.send(&payee.address().await, 60_000).await.ok();
    daemon.progress().await;
    assert_eq!(daemon.exit_state(&vtxo).await, "vtxo-already-spent");
    let held = || {
        let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).unwrap();
        let count = "SELECT count(*) FROM onchain_hold";
        database.query_row(count, [], |row| row.get::<_, u32>(0))
    };
    assert_eq!(held().unwrap(), 1);
    daemon.next_block(&world).await;
    eventually("nothing is held", async || {
        daemon.progress().await;
        (held().ok() == Some(0)).then_some(())
    })
    .await;
}
