//! Rounds that the server carries out by itself.

use std::time::Duration;

use bitcoin::Amount;
use bitcoin_ext::BlockHeight;

use crate::wallet::flows::refresh::quote::quote;
use crate::wallet::testing::{World, charging, ids, movements, no_rounds, params, until};
use crate::wallet::{MovementStatus, RoundPhase};
use arkwalletd_sandbox::ark::Action;

#[tokio::test(flavor = "multi_thread")]
async fn a_delegated_refresh_happens_in_the_next_round() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let old = world.fund(wallet, 100_000).await;
    let before = wallet.balance().spendable;
    let pending = wallet.refresh_delegated(vec![old], None).await.unwrap();
    assert_eq!(pending.phase, RoundPhase::Delegated);
    assert!(pending.unlock_hash.is_some());
    assert_eq!(wallet.balance().spendable, before, "nothing is locked yet");
    assert!(world.round().await);
    no_rounds(wallet).await;
    let history = movements(wallet, "refresh").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert_eq!(wallet.balance().spendable, before - history[0].offchain_fee);
    run.stop().await;
}

/// The fee is that of the height that it is scheduled for, and no earlier round takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_refresh_waits_for_its_height() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let old = world.fund(wallet, 100_000).await;
    let record = wallet.vtxo(old).await.unwrap();
    let (info, tip) = (wallet.ark_info().unwrap(), wallet.tip().await.unwrap());
    let now = quote(&info, std::slice::from_ref(&record), tip)
        .unwrap()
        .fee;
    let height = BlockHeight::new(record.expiry_height.to_u32() - 150);
    let late = wallet
        .refresh_delegated(vec![old], Some(record.expiry_height))
        .await;
    assert_eq!(late.unwrap_err().code(), "height_too_late");
    let pending = wallet
        .refresh_delegated(vec![old], Some(height))
        .await
        .unwrap();
    assert_eq!(pending.scheduled_height, Some(height));
    assert!(!world.round().await);
    let tip = wallet.tip().await.unwrap().to_u32();
    world.mine(height.to_u32() - tip).await;
    until(wallet, "tip", |wallet| {
        wallet
            .subscribe_tips()
            .borrow()
            .is_some_and(|tip| tip.height >= height)
    })
    .await;
    assert!(world.round().await);
    no_rounds(wallet).await;
    let history = movements(wallet, "refresh").await;
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert!(history[0].offchain_fee < now);
    run.stop().await;
}

/// W12: the intent is there before the server is asked, and a lost answer does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_made_up_for() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    world.fault("SubmitRoundParticipation", 1, Action::DropAfter);
    world.fault("RoundParticipationStatus", 1, Action::DropAfter);
    run.wallet.refresh_delegated(vec![old], None).await.unwrap();
    assert!(world.round().await);
    no_rounds(&run.wallet).await;
    assert_eq!(run.wallet.balance().spendable, Amount::from_sat(50_000));
    assert_eq!(movements(&run.wallet, "refresh").await.len(), 1);
    run.stop().await;
}

/// A part of the inputs is spent before the round: the rest is submitted anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_meanwhile_is_left_out() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let (spent, kept) = (
        world.fund(wallet, 50_000).await,
        world.fund(wallet, 60_000).await,
    );
    wallet
        .refresh_delegated(vec![kept, spent], None)
        .await
        .unwrap();
    let address = wallet.next_onchain_address().await.unwrap().to_string();
    wallet
        .offboard_vtxos(vec![spent], Some(&address))
        .await
        .unwrap();
    wallet.sync().await;
    let shrunk = async {
        while wallet.pending_rounds().await.unwrap()[0].inputs.len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shrunk)
        .await
        .unwrap();
    wallet.sync().await;
    assert!(world.round().await);
    no_rounds(wallet).await;
    let history = movements(wallet, "refresh").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].input_vtxos, [kept]);
    assert_eq!(history[0].status, MovementStatus::Successful);
    run.stop().await;
}

/// The server forgets the participation: it failed, and nothing was given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_participation_that_was_dropped_has_failed() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    world.fault("round.status", 1, Action::NotFound);
    run.wallet.refresh_delegated(vec![old], None).await.unwrap();
    no_rounds(&run.wallet).await;
    assert_eq!(ids(&run.wallet), [old]);
    let history = movements(&run.wallet, "refresh").await;
    assert_eq!(history[0].status, MovementStatus::Failed);
    run.stop().await;
}

/// H33: the wallet's record is gone, as after a restored backup; the mailbox and the server bring the round back.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_without_a_record_is_taken_up() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 100_000).await;
    run.stop().await;
    let (database, backup) = (
        world.dir.path().join("db.sqlite"),
        world.dir.path().join("backup.sqlite"),
    );
    let connection = rusqlite::Connection::open(&database).unwrap();
    let into = backup.display().to_string();
    connection.execute("VACUUM INTO ?1", [into]).unwrap();
    drop(connection);

    let run = world.open().await;
    until(&run.wallet, "connection", |wallet| wallet.is_connected()).await;
    run.wallet.refresh_delegated(vec![old], None).await.unwrap();
    run.stop().await;
    for leftover in ["db.sqlite-wal", "db.sqlite-shm"] {
        let _ = std::fs::remove_file(world.dir.path().join(leftover));
    }
    std::fs::copy(&backup, &database).unwrap();
    assert!(world.round().await);

    let run = world.open().await;
    until(&run.wallet, "new VTXO", |wallet| {
        !ids(wallet).is_empty() && !ids(wallet).contains(&old)
    })
    .await;
    no_rounds(&run.wallet).await;
    let history = movements(&run.wallet, "refresh").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert!(history[0].offchain_fee > Amount::ZERO);
    // The message again changes nothing.
    run.wallet.sync_mailbox().await.unwrap();
    assert_eq!(movements(&run.wallet, "refresh").await.len(), 1);
    run.stop().await;
}
