//! The third-party barkd 0.8.0, unchanged, over the sandbox's Lightning: the simulation is genuine, and the daemons understand each
//! other.

use crate::support::{Daemon, FAIL, SETTLE, World, assert_conserved, eventually, hash_of};

/// Waits until barkd has this much to spend.
async fn has(daemon: &Daemon, sats: u64) {
    eventually("barkd has the money", async || {
        daemon.post_empty("/wallet/sync").await.ok();
        (daemon.balance("spendable_sat").await == sats).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_barkds_pay_each_other_and_the_world() {
    let world = World::new().await;
    let (payer, payee) = (Daemon::barkd(&world).await, Daemon::barkd(&world).await);
    for daemon in [&payer, &payee] {
        daemon.fund_and_board(&world, 60_000).await;
    }
    // barkd goes by a tip that is up to a second old, unless it has been told to sync. It asks for HTLCs that expire as early as it
    // can use them, so a payee that learns of a block between the request and the claim gives the payment up, and a payer that
    // is two blocks behind is refused. After this no block comes.
    for daemon in [&payer, &payee] {
        has(daemon, 60_000).await;
    }
    let bolt11 = payee.invoice(5_000).await;
    payer.pay(&bolt11, None).await.ok();
    has(&payer, 55_000).await;
    has(&payee, 65_000).await;

    payer
        .pay(&world.issue(4_000, SETTLE).bolt11, None)
        .await
        .ok();
    has(&payer, 51_000).await;

    payer
        .pay(&world.issue_offer(None, SETTLE), 3_000)
        .await
        .ok();
    has(&payer, 48_000).await;

    world.pays(&payee.invoice(7_000).await).await;
    has(&payee, 72_000).await;

    for daemon in [&payer, &payee] {
        daemon.settled().await;
    }
    world.lightning_jobs().await;
    let ledger = world.lightning_ledger();
    assert_eq!(ledger.taken_sat, 12_000, "5000, 4000 and 3000 sat");
    assert_eq!(ledger.granted_sat, 12_000, "5000 and 7000 sat");
    assert_eq!(ledger.granted_open_sat, 0);
    assert_eq!(ledger.network.sent_msat, 7_000_000);
    assert_eq!(ledger.network.received_msat, 7_000_000);
    assert_eq!(ledger.earned_msat, 0);
}

#[tokio::test]
async fn a_barkd_gets_its_money_back_when_the_world_refuses_it() {
    let world = World::new().await;
    let payer = Daemon::barkd(&world).await;
    payer.fund_and_board(&world, 60_000).await;
    has(&payer, 60_000).await;
    payer.pay(&world.issue(4_000, FAIL).bolt11, None).await.ok();
    has(&payer, 60_000).await;
    let ark = &world.sandbox.ark;
    assert_eq!(
        ark.faults().calls_of("RequestLightningPayHtlcRevocation"),
        1
    );
    assert_eq!(world.lightning_ledger().earned_msat, 0);
}

#[tokio::test]
async fn a_barkd_and_an_arkwalletd_pay_each_other() {
    let world = World::new().await;
    let (barkd, ours) = (
        Daemon::barkd(&world).await,
        Daemon::with_wallet(&world).await,
    );
    for daemon in [&barkd, &ours] {
        daemon.fund_and_board(&world, 60_000).await;
    }
    has(&barkd, 60_000).await;

    let bolt11 = ours.invoice(5_000).await;
    let hash = hash_of(&bolt11);
    barkd.pay(&bolt11, None).await.ok();
    let info = ours.wait_for_receive_state(&hash, "settled").await;
    assert_eq!(info["invoice"], bolt11);
    ours.wait_for_spendable(65_000).await;
    has(&barkd, 55_000).await;

    let bolt11 = barkd.invoice(2_000).await;
    let hash = hash_of(&bolt11);
    let reply = ours.pay(&bolt11, None).await;
    assert!(matches!(reply.status, 200 | 202), "{reply:?}");
    has(&barkd, 57_000).await;
    ours.wait_for_send_state(&hash, "paid").await;
    ours.wait_for_spendable(63_000).await;

    for daemon in [&barkd, &ours] {
        daemon.settled().await;
    }
    assert_conserved(&world, &[&barkd, &ours]).await;
    let network = world.lightning_ledger().network;
    assert_eq!([network.sent_msat, network.received_msat], [0, 0]);
}
