//! Many concurrent payments from a wallet with many VTXOs.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::Value;

use crate::support::{Daemon, World, assert_conserved, eventually};

/// How many VTXOs the payer has at least.
const COINS: u64 = 1_000;
/// The amount of each of them, in sat.
const COIN: u64 = 400;
/// Concurrent payments.
const PAYMENTS: u64 = 200;

#[tokio::test]
async fn two_hundred_concurrent_payments_from_a_thousand_vtxos() {
    let world = World::new().await;
    let pieces = [("BARK_CHANGE_VTXO_SPLIT_FACTOR", "3")];
    let payer = Daemon::start_with(&[], &pieces).await;
    payer.create_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    let owned = fill(&world, &payer).await;

    // Less than a coin, more than one, more than two: some leave change, some take several coins.
    let amounts: Vec<u64> = (0..PAYMENTS).map(|i| 300 + i % 5 * 150).collect();
    let to = payee.address().await;
    let replies = join_all(amounts.iter().map(|sats| payer.send(&to, *sats))).await;
    let mut movements = HashSet::new();
    for reply in replies {
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        movements.insert(reply.body["movement_id"].as_u64().expect("a number"));
    }
    assert_eq!(movements.len(), amounts.len(), "each has its own movement");

    let paid = amounts.iter().sum();
    payee.wait_for_spendable(paid).await;
    payer.settled().await;
    assert_eq!(payer.balance("spendable_sat").await, owned - paid);
    let history = payer.history().await;
    let spent: Vec<&str> = history
        .iter()
        .flat_map(|movement| movement["input_vtxos"].as_array().expect("a list"))
        .map(|id| id.as_str().expect("an id"))
        .collect();
    let distinct: HashSet<&str> = spent.iter().copied().collect();
    assert_eq!(distinct.len(), spent.len(), "no coin was used twice");
    for movement in &history {
        assert_eq!(movement["status"], "successful", "{movement:#}");
    }
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// Gives the payer its VTXOs, and answers their sum in sat.
async fn fill(world: &World, payer: &Daemon) -> u64 {
    let mut coins = 1;
    while coins < COINS {
        coins *= 4;
    }
    let owned = coins * COIN;
    payer.fund_and_board(world, owned).await;
    payer.fan_out(world, owned, 1, COINS).await;
    eventually("the payer has its coins", async || {
        let vtxos = payer.get("/wallet/vtxos").await.ok();
        let spendable = |vtxo: &&Value| vtxo["state"]["type"] == "spendable";
        let found = vtxos.as_array().expect("a list").iter().filter(spendable);
        (found.count() as u64 >= COINS).then_some(())
    })
    .await;
    owned
}
