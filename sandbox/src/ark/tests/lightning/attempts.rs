//! How attempts end, and when that is seen.

use super::*;

#[tokio::test]
async fn a_failed_payment_is_told_without_a_reason() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, NO_ROUTE);
    wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let status = wallet.check(invoice.payment_hash(), true).await.unwrap();
    let PaymentStatus::Failed(failure) = status else {
        panic!("{status:?}")
    };
    assert_eq!(failure.reason, 0);
    assert_eq!(wallet.told_outcomes().await, [None]);
    assert_eq!(sandbox.earned(), 0);
}

#[tokio::test]
async fn a_server_may_tell_the_reason() {
    let (sandbox, wallet) = start(Params {
        ln_failure_reasons: true,
        ..Params::free()
    })
    .await;
    let invoice = sandbox.world_invoice(1_000, NO_ROUTE);
    wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let status = wallet.check(invoice.payment_hash(), false).await.unwrap();
    let PaymentStatus::Failed(failure) = status else {
        panic!("{status:?}")
    };
    let no_route = protos::LightningFailureReason::LightningFailureNoRoute;
    assert_eq!(failure.reason(), no_route);
}

#[tokio::test]
async fn without_a_node_nothing_is_started_and_the_call_succeeds() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    sandbox.server.lightning().set_online(false);
    let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let hash = invoice.payment_hash();
    let status = wallet.check(hash, false).await;
    refused(status, Code::NotFound, "payment attempt not found");
    sandbox.server.lightning().set_online(true);
    wallet.initiate(&invoice, &[&htlc], 1_000).await.unwrap();
    sandbox.jobs().await;
    assert!(wallet.is_paid(hash).await);
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn an_attempt_that_the_node_never_heard_of_fails_after_75_seconds() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    let hash = invoice.payment_hash();
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let htlc = wallet.htlc(&sandbox, &input, hash, 1_000).await;
    let crash = fault("lnsend.attempt", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    wallet
        .initiate(&invoice, &[&htlc], 1_000)
        .await
        .unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    sandbox.advance(60).await;
    assert!(wallet.is_pending(hash).await);
    // While an attempt is open, another one is not started, and the call succeeds.
    wallet.initiate(&invoice, &[&htlc], 1_000).await.unwrap();
    sandbox.advance(20).await;
    assert!(wallet.has_failed(hash).await);
    wallet.initiate(&invoice, &[&htlc], 1_000).await.unwrap();
    sandbox.jobs().await;
    assert!(wallet.is_paid(hash).await);
}

#[tokio::test]
async fn a_restart_right_after_the_call_loses_only_the_speed() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    let hash = invoice.payment_hash();
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let htlc = wallet.htlc(&sandbox, &input, hash, 1_000).await;
    let crash = fault("lnsend.initiated", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    wallet
        .initiate(&invoice, &[&htlc], 1_000)
        .await
        .unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    sandbox.jobs().await;
    assert!(wallet.is_pending(hash).await);
    sandbox.advance(80).await;
    assert!(wallet.is_paid(hash).await);
    assert_eq!(wallet.told_outcomes().await.len(), 1);
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn after_the_call_an_attempt_is_looked_at_from_time_to_time() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::Hold);
    let hash = invoice.payment_hash();
    wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    sandbox.advance(61).await;
    sandbox.advance(20).await; // looked at: pending; again in 10 s
    sandbox.server.lightning().settle_payment(hash).unwrap();
    sandbox.advance(5).await;
    assert!(wallet.is_pending(hash).await);
    sandbox.advance(6).await;
    assert!(wallet.is_paid(hash).await);

    let lost = sandbox.world_invoice(1_000, Outcome::default());
    let faults = sandbox.server.faults();
    faults
        .add(fault("lnsend.outcome", Action::Withhold))
        .unwrap();
    wallet.try_to_pay(&sandbox, &lost, 1_000).await;
    assert!(wallet.is_pending(lost.payment_hash()).await);
    sandbox.advance(80).await;
    assert!(wallet.is_paid(lost.payment_hash()).await);
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn an_htlc_with_too_few_blocks_left_is_accepted_and_fails_later() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    let hash = invoice.payment_hash();
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let htlc = wallet.htlc(&sandbox, &input, hash, 1_000).await;
    sandbox.mine_blocks(95).await;
    wallet.initiate(&invoice, &[&htlc], 1_000).await.unwrap();
    sandbox.jobs().await;
    assert!(wallet.is_pending(hash).await);
    sandbox.advance(80).await;
    assert!(wallet.has_failed(hash).await);
    assert_eq!(sandbox.earned(), 0);
}

/// docs/protocol.md §40.2, §40.4.
#[tokio::test]
async fn the_same_call_after_a_failure_pays_and_only_the_failure_is_told() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, NO_ROUTE);
    let hash = invoice.payment_hash();
    let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    assert!(wallet.has_failed(hash).await);
    let network = sandbox.server.lightning();
    network.change_outcome(hash, Outcome::default()).unwrap();
    wallet.initiate(&invoice, &[&htlc], 1_000).await.unwrap();
    sandbox.jobs().await;
    assert!(wallet.is_paid(hash).await);
    assert_eq!(wallet.told_outcomes().await, [None]);
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn a_success_takes_the_htlcs_of_another_payers_failed_attempt() {
    let (sandbox, alice) = start(Params::free()).await;
    let bob = sandbox.wallet().await;
    let invoice = sandbox.world_invoice(1_000, NO_ROUTE);
    let hash = invoice.payment_hash();
    let failed = alice.try_to_pay(&sandbox, &invoice, 1_000).await;
    assert!(alice.has_failed(hash).await);
    let network = sandbox.server.lightning();
    network.change_outcome(hash, Outcome::default()).unwrap();
    let paid = bob.try_to_pay(&sandbox, &invoice, 1_000).await;
    assert!(bob.is_paid(hash).await && alice.is_paid(hash).await);
    for htlc in [&failed, &paid] {
        assert_eq!(sandbox.state(htlc.id()), "ln-spent");
    }
    assert_eq!(sandbox.earned(), 1_000_000);
    let revocation = alice.claim_of(&[failed], alice.key.public_key());
    let preimage = network.world_invoice(hash).unwrap().unwrap().preimage;
    let text = format!("invoice has already been paid, preimage: {preimage}");
    refused(
        alice.revoke(&revocation).await,
        Code::InvalidArgument,
        &text,
    );
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn between_preimage_and_end_a_payment_is_pending_and_cannot_be_revoked() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::Hold);
    let hash = invoice.payment_hash();
    let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let crash = fault("lnsend.preimage", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    sandbox.server.lightning().settle_payment(hash).unwrap();
    // The server's own job may be the one that crashes.
    let _ = sandbox.server.run_lightning_jobs().await;
    let wallet = wallet.reconnected(&sandbox).await;
    assert_eq!(sandbox.server.faults().active()[0].fired, 1);
    assert!(wallet.is_pending(hash).await);
    let revocation = wallet.claim_of(std::slice::from_ref(&htlc), wallet.key.public_key());
    refused(
        wallet.revoke(&revocation).await,
        Code::InvalidArgument,
        "preimage: ",
    );
    sandbox.advance(80).await;
    assert!(wallet.is_paid(hash).await);
    assert_eq!(sandbox.state(htlc.id()), "ln-spent");
}
