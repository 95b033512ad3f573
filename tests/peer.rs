//! The third-party barkd 0.8.0, unchanged, in the same world: the sandbox is genuine, and both wallets tell the same story.

use serde_json::Value;

use crate::support::{Daemon, World, assert_conserved, eventually};

#[tokio::test]
async fn barkd_boards_pays_us_and_is_paid_by_us() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    assert_eq!(
        barkd.get("/wallet/ark-info").await.ok(),
        without_aliases(ours.get("/wallet/ark-info").await.ok())
    );
    for daemon in [&ours, &barkd] {
        daemon.fund_and_board(&world, 60_000).await;
        daemon.wait_for_spendable(60_000).await;
    }
    assert_same_story(&ours.history().await[0], &barkd.history().await[0]);

    let to_ours = ours.address().await;
    barkd.send(&to_ours, 25_000).await.ok();
    ours.wait_for_spendable(85_000).await;
    let to_barkd = barkd.address().await;
    ours.send(&to_barkd, 5_000).await.ok();
    barkd.post_empty("/wallet/sync/mailbox").await.ok();
    barkd.wait_for_spendable(40_000).await;
    barkd.settled().await;

    // What one sent the other received, and each tells it as the other would.
    assert_same_story(
        &movement(&ours, "send").await,
        &movement(&barkd, "send").await,
    );
    assert_same_story(
        &movement(&ours, "receive").await,
        &movement(&barkd, "receive").await,
    );
    let sent = movement(&barkd, "send").await;
    let received = movement(&ours, "receive").await;
    assert_eq!(sent["sent_to"], received["received_on"]);
    assert_conserved(&world, &[&ours, &barkd]).await;
}

#[tokio::test]
async fn barkd_takes_the_last_sat_and_gives_it_back() {
    let world = World::new().await;
    let (ours, barkd) = (
        Daemon::with_wallet(&world).await,
        Daemon::barkd(&world).await,
    );
    ours.fund_and_board(&world, 10_000).await;
    let (to_ours, to_barkd) = (ours.address().await, barkd.address().await);
    for sats in [1, 329, 9_670] {
        ours.send(&to_barkd, sats).await.ok();
    }
    eventually("barkd has all of it", async || {
        barkd.post_empty("/wallet/sync/mailbox").await.ok();
        (barkd.balance("spendable_sat").await == 10_000).then_some(())
    })
    .await;
    barkd.send(&to_ours, 10_000).await.ok();
    ours.wait_for_spendable(10_000).await;
    assert_conserved(&world, &[&ours, &barkd]).await;
}

/// The newest movement of a kind.
async fn movement(daemon: &Daemon, kind: &str) -> Value {
    let history = daemon.history().await;
    let found = history
        .into_iter()
        .find(|movement| movement["subsystem"]["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// Compares the fields that do not depend on amounts, keys and times, and the names of all fields.
#[track_caller]
fn assert_same_story(ours: &Value, theirs: &Value) {
    for field in ["status", "subsystem", "offchain_fee_sat", "exited_vtxos"] {
        assert_eq!(
            ours[field], theirs[field],
            "{field} of {ours:#} and {theirs:#}"
        );
    }
    for field in ["intended_balance_sat", "effective_balance_sat"] {
        let (ours, theirs) = (
            ours[field].as_i64().expect("a number"),
            theirs[field].as_i64().expect("a number"),
        );
        assert_eq!(ours.signum(), theirs.signum(), "{field}");
    }
    for field in ["sent_to", "received_on", "input_vtxos"] {
        let (ours, theirs) = (
            ours[field].as_array().expect("a list"),
            theirs[field].as_array().expect("a list"),
        );
        assert_eq!(ours.len(), theirs.len(), "{field}");
    }
    let fields = |movement: &Value| {
        movement
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (fields(ours), fields(theirs));
    assert!(
        theirs.iter().all(|field| ours.contains(field)),
        "ours {ours:?}, theirs {theirs:?}"
    );
}

/// Without the keys that only the prose documentation names.
fn without_aliases(mut info: Value) -> Value {
    for alias in ["pubkey", "board_fees", "lightning", "round_interval_secs"] {
        info.as_object_mut().expect("an object").remove(alias);
    }
    info
}
