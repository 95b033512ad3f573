use super::*;

/// docs/protocol.md §40.2.
#[tokio::test]
async fn a_failed_payment_is_revoked_and_the_same_revocation_can_be_repeated() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, NO_ROUTE);
    let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let me = wallet.key.public_key();
    let htlcs = [htlc.clone()];
    let crash = fault("lnsend.revoke.persisted", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    let revocation = wallet.claim_of(&htlcs, me);
    wallet.revoke(&revocation).await.unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    assert_eq!(sandbox.state(htlc.id()), "spent");

    let revocation = wallet.claim_of(&htlcs, me);
    let response = wallet.revoke(&revocation).await.unwrap();
    assert_eq!(wallet.complete(revocation, response).await, 1_000);
    wallet.revoke(&wallet.claim_of(&htlcs, me)).await.unwrap();
    let other = wallet.claim_of(&htlcs, new_key().public_key());
    refused(
        wallet.revoke(&other).await,
        Code::Internal,
        "is already spent",
    );
    let paid = wallet.initiate(&invoice, &[&htlc], 1_000).await;
    refused(
        paid,
        Code::InvalidArgument,
        "is not spendable (state: spent)",
    );
    assert_eq!(
        sandbox.server.ledger().unwrap().spendable.amount,
        sat(20_000)
    );
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn an_open_payment_is_revocable_only_after_its_htlcs_expired() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::Hold);
    let hash = invoice.payment_hash();
    let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let expiry = htlc.policy().as_server_htlc_send().unwrap().htlc_expiry;
    let htlcs = [htlc.clone()];
    let revocation = wallet.claim_of(&htlcs, wallet.key.public_key());
    let early = "not eligible for revocation yet";
    refused(
        wallet.revoke(&revocation).await,
        Code::InvalidArgument,
        early,
    );
    sandbox
        .mine_blocks(expiry.to_u32() - sandbox.tip().await)
        .await;
    refused(
        wallet.revoke(&revocation).await,
        Code::InvalidArgument,
        early,
    );
    sandbox.mine_blocks(1).await;
    let response = wallet.revoke(&revocation).await.unwrap();
    wallet.complete(revocation, response).await;

    // The attempt is still open: it keeps the hash, and can succeed at the server's expense.
    assert!(wallet.is_pending(hash).await);
    sandbox.server.lightning().settle_payment(hash).unwrap();
    sandbox.advance(80).await;
    assert!(wallet.is_paid(hash).await);
    assert_eq!(sandbox.state(htlc.id()), "spent");
    assert_eq!(sandbox.earned(), -1_000_000);
}

#[tokio::test]
async fn htlcs_that_never_paid_are_revoked_once_they_are_registered() {
    let (sandbox, wallet) = start(Params::free()).await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let hash = Preimage::random().compute_payment_hash();
    let expiry = sandbox.tip().await + SEND_DELTA;
    let payment = wallet.htlc_payment(&input, hash, 1_000, expiry);
    let response = wallet.cosign_htlc(&payment).await.unwrap();
    let vtxos = wallet.finish(payment, response).unwrap();
    let revocation = wallet.claim_of(&vtxos[..1], wallet.key.public_key());
    let unknown = "doesn't exist or is unspendable";
    refused(
        wallet.revoke(&revocation).await,
        Code::InvalidArgument,
        unknown,
    );
    wallet.register(&vtxos).await.unwrap();
    let response = wallet.revoke(&revocation).await.unwrap();
    assert_eq!(wallet.complete(revocation, response).await, 1_000);
}

#[tokio::test]
async fn a_malformed_revocation_is_the_servers_fault() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, NO_ROUTE);
    let htlc = wallet.try_to_pay(&sandbox, &invoice, 1_000).await;
    let me = wallet.key.public_key();
    let (refuse, internal) = (Code::InvalidArgument, Code::Internal);
    let two = [(me, 400), (new_key().public_key(), 600)];
    let differ = wallet.payment(&htlc, &two);
    refused(wallet.revoke(&differ).await, internal, "differ");
    let hash = Preimage::random().compute_payment_hash();
    let tip = sandbox.tip().await;
    let to_htlc = wallet.htlc_payment(&htlc, hash, 1_000, tip + 100);
    refused(wallet.revoke(&to_htlc).await, refuse, "pubkey policy");
    let plain = sandbox.board(&wallet, sat(20_000)).await;
    let plain = wallet.claim_of(&[plain], me);
    refused(
        wallet.revoke(&plain).await,
        internal,
        "one HTLC-send policy",
    );
    let split = wallet.payment(&htlc, &[(me, 400), (me, 600)]);
    refused(wallet.revoke(&split).await, refuse, "one output per input");
    assert_eq!(sandbox.state(htlc.id()), "spendable");
}

#[tokio::test]
async fn several_htlcs_are_revoked_together() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(3_000, NO_ROUTE);
    let hash = invoice.payment_hash();
    let inputs = [
        sandbox.board(&wallet, sat(2_000)).await,
        sandbox.board(&wallet, sat(2_000)).await,
    ];
    let expiry = sandbox.tip().await + SEND_DELTA;
    let me = wallet.key.public_key();
    let policy = VtxoPolicy::new_server_htlc_send(me, hash, BlockHeight::new(expiry));
    let outputs = [(policy, 3_000), (VtxoPolicy::new_pubkey(me), 1_000)];
    let outputs = outputs.map(|(policy, amount)| ArkoorDestination {
        total_amount: sat(amount),
        policy,
    });
    let payment = ArkoorPackageBuilder::new_with_checkpoints(inputs, outputs.to_vec())
        .unwrap()
        .generate_user_nonces(&[wallet.key, wallet.key])
        .unwrap();
    let response = wallet.cosign_htlc(&payment).await.unwrap();
    let signed = payment.user_cosign(&[wallet.key, wallet.key], response);
    let vtxos = signed.unwrap().build_signed_vtxos();
    wallet.register(&vtxos).await.unwrap();
    wallet
        .initiate(&invoice, &[&vtxos[0], &vtxos[1]], 3_000)
        .await
        .unwrap();
    sandbox.jobs().await;
    let revocation = wallet.claim_of(&vtxos[..2], me);
    let response = wallet.revoke(&revocation).await.unwrap();
    assert_eq!(wallet.complete(revocation, response).await, 3_000);
}
