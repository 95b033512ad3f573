//! Many concurrent payments from a wallet with many VTXOs, and many clients of two wallets for a while.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;

use crate::support::{Daemon, World, assert_conserved, eventually, total};

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

/// Clients that read and pay at the same time, half of them at each wallet.
const CLIENTS: u64 = 200;
/// What each wallet owns at the beginning, in sat.
const OWNED: u64 = 64 * 4_000;

#[tokio::test]
async fn two_hundred_clients_read_and_pay_without_an_error() {
    read_and_pay_for(Duration::from_secs(10)).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn two_hundred_clients_read_and_pay_for_five_minutes_at_length() {
    read_and_pay_for(Duration::from_secs(300)).await;
}

/// Two wallets pay each other while their clients read. Nothing but a want of funds may be refused, no money is lost, and the
/// daemons do not grow.
async fn read_and_pay_for(time: Duration) {
    let world = World::new().await;
    let pieces = [("BARK_CHANGE_VTXO_SPLIT_FACTOR", "3")];
    let daemons = [
        Daemon::start_with(&[], &pieces).await,
        Daemon::start_with(&[], &pieces).await,
    ];
    for daemon in &daemons {
        daemon.create_wallet(&world).await;
        daemon.fund_and_board(&world, OWNED).await;
        daemon.fan_out(&world, OWNED, 1, 64).await;
    }
    let to = [daemons[0].address().await, daemons[1].address().await];

    let client = async |number: u64, end: Instant| {
        let own = usize::try_from(number % 2).expect("0 or 1");
        let (daemon, payee) = (&daemons[own], &to[1 - own]);
        let mut paid = 0;
        for turn in number / 2.. {
            if Instant::now() >= end {
                break;
            }
            let reply = match turn % 8 {
                0 => daemon.get("/wallet/balance").await,
                1 => daemon.get("/wallet/vtxos").await,
                2 => daemon.get("/history?limit=20").await,
                3 => daemon.get("/wallet").await,
                4 => daemon.get("/onchain/balance").await,
                5 => daemon.get("/wallet/connected").await,
                6 => daemon.post_empty("/wallet/addresses/next").await,
                _ => daemon.send(payee, 400 + turn % 50).await,
            };
            match reply.status {
                202 => paid += 1,
                200 if turn % 8 == 7 => paid += 1,
                200 => {}
                _ => drop(reply.refused(400, "insufficient_funds")),
            }
        }
        paid
    };
    let all_for = async |time: Duration| {
        let end = Instant::now() + time;
        let paid: Vec<u64> = join_all((0..CLIENTS).map(|number| client(number, end))).await;
        paid.into_iter().sum::<u64>()
    };
    let warm_up = all_for(time / 3).await;
    let before = daemons.each_ref().map(Daemon::memory);
    let paid = all_for(time - time / 3).await;
    let after = daemons.each_ref().map(Daemon::memory);
    assert!(warm_up > 0 && paid > 0, "{warm_up} {paid}");
    for (before, after) in before.into_iter().zip(after) {
        println!("{paid} payments; {before} KiB before, {after} KiB after");
        assert!(after < before + before / 4 + 16 * 1024, "{before} {after}");
    }

    for daemon in &daemons {
        daemon.settled().await;
    }
    // A wallet that has got hundreds of payments at once checks one after the other.
    let mut arrived = 0;
    while arrived != i64::try_from(2 * OWNED).unwrap() {
        arrived = eventually("more money has arrived", async || {
            // With the coins that are so deep by now that they wait for a round.
            let sum = total(&daemons[0]).await + total(&daemons[1]).await;
            (sum > arrived).then_some(sum)
        })
        .await;
    }
    assert_conserved(&world, &[&daemons[0], &daemons[1]]).await;
}
