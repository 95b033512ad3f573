//! The wallet keeps its coins fresh by itself.

use bitcoin::Amount;

use super::interactive::refuse;
use crate::wallet::MovementStatus;
use crate::wallet::testing::{World, ids, movements, no_rounds, params, until};

/// docs/protocol.md §27: the daemon joins a round by itself for an expiring VTXO.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_expire_goes_into_the_next_round() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let old = world.fund(wallet, 50_000).await;
    assert!(!world.round().await, "nothing is due");
    let expiry = wallet.vtxo(old).await.unwrap().expiry_height;
    let tip = wallet.tip().await.unwrap();
    world.mine(expiry.to_u32() - tip.to_u32() - 10).await;
    until(wallet, "tip", |wallet| {
        let tip = wallet
            .subscribe_tips()
            .borrow()
            .as_ref()
            .map(|tip| tip.height);
        tip.is_some_and(|tip| expiry.to_u32() - tip.to_u32() <= 10)
    })
    .await;
    assert!(world.round().await);
    no_rounds(wallet).await;
    assert!(!ids(wallet).contains(&old));
    assert_eq!(wallet.balance().spendable, Amount::from_sat(50_000));
    assert_eq!(movements(wallet, "refresh").await.len(), 1);
    run.stop().await;
}

/// docs/protocol.md §27: one input that the server refuses is left out within the same round; one failed and one successful
/// movement tell of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_input_does_not_hold_up_the_others() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let (good, bad) = (
        world.fund(wallet, 50_000).await,
        world.fund(wallet, 40_000).await,
    );
    let expiry = wallet.vtxo(good).await.unwrap().expiry_height;
    let tip = wallet.tip().await.unwrap();
    world.mine(expiry.to_u32() - tip.to_u32() - 8).await;
    until(wallet, "tip", |wallet| {
        let tip = wallet
            .subscribe_tips()
            .borrow()
            .as_ref()
            .map(|tip| tip.height);
        tip.is_some_and(|tip| expiry.to_u32() - tip.to_u32() <= 8)
    })
    .await;
    refuse(&world, bad);
    assert!(world.round().await);
    no_rounds(wallet).await;
    let held = ids(wallet);
    assert!(held.contains(&bad) && !held.contains(&good));
    let history = movements(wallet, "refresh").await;
    let statuses: Vec<_> = history.iter().map(|movement| movement.status).collect();
    assert_eq!(
        statuses,
        [MovementStatus::Successful, MovementStatus::Failed]
    );
    assert_eq!(history[0].input_vtxos, [good]);
    run.stop().await;
}
