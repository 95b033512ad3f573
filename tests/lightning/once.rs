//! One invoice is paid once, however often it is asked for, at once or later, before or after a restart.

use std::collections::BTreeSet;

use arkwalletd_sandbox::lightning::Outcome;
use futures::future::join_all;
use serde_json::json;

use super::assert_paid;
use crate::support::{Daemon, FAIL, Reply, SETTLE, World, assert_conserved};

/// Requests of each kind.
const REQUESTS: usize = 50;

async fn at_once(daemon: &Daemon, bolt11: &str) -> Vec<Result<Reply, reqwest::Error>> {
    let body = json!({"destination": bolt11});
    let requests =
        (0..REQUESTS).map(|_| daemon.try_send("POST", "/lightning/pay", Some(body.clone())));
    join_all(requests).await
}

async fn one_by_one(daemon: &Daemon, bolt11: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for _ in 0..REQUESTS {
        replies.push(daemon.pay(bolt11, None).await);
    }
    replies
}

/// Asserts that all answers are about one payment; adds its movement to those that were seen.
fn note(replies: impl IntoIterator<Item = Reply>, hash: &str, seen: &mut BTreeSet<u64>) {
    for reply in replies {
        assert!(matches!(reply.status, 200 | 202), "{reply:?}");
        assert_eq!(reply.body["payment_hash"], hash);
        let movement = reply.body["movement_id"].as_u64();
        seen.insert(movement.unwrap_or_else(|| panic!("no movement in {:#}", reply.body)));
    }
}

#[tokio::test]
async fn an_invoice_is_paid_once_over_kills_and_restarts() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let issued = world.issue(4_000, Outcome::Hold);
    let (bolt11, hash) = (issued.bolt11.as_str(), issued.hash.as_str());
    let mut movements = BTreeSet::new();

    // The daemon is killed while the requests are under way.
    let (replies, ()) = tokio::join!(at_once(&daemon, bolt11), async {
        world.wait_until_held(hash).await;
        daemon.kill_now();
    });
    daemon.wait_for_exit().await;
    note(replies.into_iter().flatten(), hash, &mut movements);
    daemon.restart(None).await;
    daemon.wait_for_connected(true).await;
    note(one_by_one(&daemon, bolt11).await, hash, &mut movements);
    let replies = at_once(&daemon, bolt11).await;
    note(
        replies.into_iter().map(Result::unwrap),
        hash,
        &mut movements,
    );

    daemon.kill().await;
    world.settle_held(hash).await;
    daemon.restart(None).await;
    assert_paid(&daemon, hash).await;
    note(one_by_one(&daemon, bolt11).await, hash, &mut movements);
    daemon.kill().await;
    daemon.restart(None).await;
    let replies = at_once(&daemon, bolt11).await;
    note(
        replies.into_iter().map(Result::unwrap),
        hash,
        &mut movements,
    );

    assert_eq!(movements.len(), 1, "{movements:?}");
    assert_eq!(daemon.movements_of(hash).await.len(), 1);
    assert_eq!(world.lightning_ledger().network.sent_msat, 4_000_000);
    daemon.wait_for_spendable(56_000).await;
    assert_conserved(&world, &[&daemon]).await;
}

#[tokio::test]
async fn a_payment_that_failed_can_be_tried_again_and_then_pays_once() {
    let world = World::new().await;
    let mut daemon = Daemon::with_wallet(&world).await;
    daemon.fund_and_board(&world, 60_000).await;
    let issued = world.issue(4_000, FAIL);
    let (bolt11, hash) = (issued.bolt11.as_str(), issued.hash.as_str());
    for times in 1..=2 {
        daemon.pay(bolt11, None).await;
        daemon.wait_for_spendable(60_000).await;
        daemon.settled().await;
        let failed = daemon.movements_of(hash).await;
        assert_eq!(failed.len(), times, "{failed:#?}");
        assert!(failed.iter().all(|movement| movement["status"] == "failed"));
        daemon.kill().await;
        daemon.restart(None).await;
        daemon.wait_for_connected(true).await;
    }
    world.change_outcome(hash, SETTLE);
    join_all((0..REQUESTS).map(|_| daemon.pay(bolt11, None))).await;
    daemon.wait_for_send_state(hash, "paid").await;
    daemon.settled().await;
    daemon.wait_for_spendable(56_000).await;
    let movements = daemon.movements_of(hash).await;
    let succeeded = movements.iter();
    let succeeded = succeeded.filter(|movement| movement["status"] == "successful");
    assert_eq!(succeeded.count(), 1, "{movements:#?}");
    assert_eq!(world.lightning_ledger().network.sent_msat, 4_000_000);
    assert_conserved(&world, &[&daemon]).await;
}
