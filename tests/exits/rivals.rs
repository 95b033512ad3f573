//! Exits that share transactions, with each other or with somebody else.

use std::collections::BTreeSet;

use arkwalletd_sandbox::ark::Params;
use serde_json::json;

use super::steps::transactions_of;
use super::{children, cpfps};
use crate::support::{Daemon, World, assert_history_adds_up, rounds_of};

#[tokio::test]
async fn exits_share_the_children_of_common_ancestors() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let own = daemon.address().await;
    daemon.send(&own, 25_000).await.ok();
    daemon.wait_for_spendable(60_000).await;
    let vtxos = daemon.vtxos().await;
    assert!(vtxos.len() > 1);
    world.stop_server();
    let started = daemon.post_empty("/exits/start/all").await.ok();
    assert_eq!(started["started"].as_array().unwrap().len(), vtxos.len());
    let (mut parents, mut paid) = (BTreeSet::new(), BTreeSet::new());
    for vtxo in &vtxos {
        let exit = daemon.exit_until(&world, vtxo, "claimable").await;
        paid.extend(children(&exit));
        let transactions = transactions_of(&daemon, vtxo).await;
        parents.extend(transactions.iter().map(bitcoin::Transaction::compute_txid));
    }
    assert_eq!(paid.len(), parents.len());
    assert_eq!(cpfps(&daemon).await, paid);
    daemon.claim_all(&world, &vtxos[0]).await;
    for vtxo in &vtxos {
        daemon.exit_until(&world, vtxo, "claimed").await;
    }
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn ten_exits_go_on_side_by_side() {
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund(&world, 400_000).await;
    for _ in 0..10 {
        daemon.board(&world, 20_000).await;
    }
    let vtxos = daemon.vtxos().await;
    assert_eq!(vtxos.len(), 10);
    world.stop_server();
    daemon.post_empty("/exits/start/all").await.ok();
    let from = world.height().await;
    for vtxo in &vtxos {
        daemon.exit_until(&world, vtxo, "awaiting-delta").await;
    }
    let blocks = world.height().await - from;
    assert!(blocks <= 3, "{blocks}");
    for vtxo in &vtxos {
        daemon.exit_until(&world, vtxo, "claimable").await;
    }
    let to = daemon.claim_all(&world, &vtxos[0]).await;
    let received = world.received(&to).await;
    assert!((195_000..200_000).contains(&received), "{received}");
    assert_eq!(daemon.exits("live").await, Vec::<String>::new());
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn the_child_of_somebody_else_is_adopted() {
    // H27
    let world = World::new().await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.only_vtxo().await;
    let transactions = transactions_of(&daemon, &vtxo).await;
    world.publish_unconfirmed(transactions[0].clone()).await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.progress().await;
    let exit = daemon.exit_of(&vtxo).await;
    let status = &exit["state"]["transactions"][0]["status"];
    assert_eq!(status["origin"]["type"], "mempool", "{exit:#}");
    let fee = &exit["transactions"][0]["child"]["fee_info"]["total_fee_sat"];
    assert_eq!(*fee, 5_000);
    let exit = daemon.exit_until(&world, &vtxo, "claimable").await;
    let child = &exit["transactions"][0]["child"];
    assert_eq!(child["origin"]["type"], "block", "{exit:#}");
    assert!(cpfps(&daemon).await.is_empty());
    daemon.claim_all(&world, &vtxo).await;
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn a_vtxo_whose_ancestor_is_swept_is_lost() {
    // W19
    let world = World::simulated(Params::free()).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let vtxo = daemon.pay_itself(60_000, 1).await;
    let transactions = transactions_of(&daemon, &vtxo).await;
    for transaction in &transactions[..2] {
        world.publish_unconfirmed(transaction.clone()).await;
        world.mine(1).await;
    }
    let expiry = daemon.vtxo(&vtxo).await["expiry_height"].as_u64().unwrap();
    let expiry = u32::try_from(expiry).unwrap();
    world.mine(expiry + 1 - world.height().await).await;
    world.fund_server(100_000).await;
    let swept = world.sandbox.ark.run_watchman(true).await.unwrap();
    assert!(!swept.is_empty());
    world.mine(1).await;
    daemon.wait_for_tip(&world).await;
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    let progress = daemon.progress().await;
    let error = &progress["exits"][0]["error"];
    assert_eq!(error["type"], "vtxo-swept", "{progress:#}");
    assert_eq!(daemon.exit_state(&vtxo).await, "processing");
    let exit = daemon.exit_until(&world, &vtxo, "vtxo-swept").await;
    let lost = format!("{}:0", transactions[1].compute_txid());
    assert_eq!(exit["state"]["spent_inputs"], json!([lost]));
    let movement = daemon.movement("start").await;
    assert_eq!(movement["status"], "failed");
    assert_eq!(movement["effective_balance_sat"], -60_000);
    assert_history_adds_up(&daemon).await;
}

#[tokio::test]
async fn a_vtxo_of_a_round_is_exited_without_the_server() {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(1_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    daemon.refresh_all().await;
    world.successful_round().await;
    daemon.finish_round(&world).await;
    daemon.wait_for_spendable(60_000).await;
    let vtxo = daemon.only_vtxo().await;
    world.stop_server();
    daemon.exit(std::slice::from_ref(&vtxo)).await;
    daemon.exit_until(&world, &vtxo, "claimable").await;
    let to = daemon.claim_all(&world, &vtxo).await;
    assert!(world.received(&to).await > 59_000);
    assert_history_adds_up(&daemon).await;
}
