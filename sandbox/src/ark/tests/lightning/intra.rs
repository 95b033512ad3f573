//! One wallet of this server pays another.

use super::*;

struct Both {
    sandbox: Sandbox,
    payer: Wallet,
    payee: Wallet,
    preimage: Preimage,
    htlc: Vtxo<Full>,
    invoice: Invoice,
}

impl Both {
    fn hash(&self) -> PaymentHash {
        self.preimage.compute_payment_hash()
    }

    async fn pay(&self) -> Result<(), Status> {
        self.payer
            .initiate(&self.invoice, &[&self.htlc], 5_000)
            .await
    }

    async fn claim(&self, htlcs: Vec<Vtxo<Full>>) {
        let htlcs = sorted(htlcs);
        let claim = self.payee.claim_of(&htlcs, self.payee.key.public_key());
        let response = self
            .payee
            .claim_receive(self.preimage, &claim)
            .await
            .unwrap();
        assert_eq!(self.payee.complete(claim, response).await, 5_000);
        self.sandbox.jobs().await;
    }

    async fn revoke(&self) -> Result<ArkoorPackageCosignResponse, Status> {
        let htlcs = [self.htlc.clone()];
        let revocation = self.payer.claim_of(&htlcs, self.payer.key.public_key());
        self.payer.revoke(&revocation).await
    }
}

/// A payer with an HTLC for the invoice of a payee.
async fn about_to_pay() -> Both {
    let (sandbox, payer) = start(Params::free()).await;
    let payee = sandbox.wallet().await;
    let preimage = Preimage::random();
    let hash = preimage.compute_payment_hash();
    let invoice = payee.start(hash, 5_000).await.unwrap().parse().unwrap();
    let input = sandbox.board(&payer, sat(20_000)).await;
    let htlc = payer.htlc(&sandbox, &input, hash, 5_000).await;
    Both {
        sandbox,
        payer,
        payee,
        preimage,
        htlc,
        invoice,
    }
}

async fn paying() -> Both {
    let both = about_to_pay().await;
    both.pay().await.unwrap();
    both
}

#[tokio::test]
async fn one_wallet_pays_another_without_the_world() {
    let both = paying().await;
    let (hash, sandbox) = (both.hash(), &both.sandbox);
    let told = both.payee.told().await;
    assert!(
        matches!(told[..], [Message::IncomingLightningPayment(_)]),
        "{told:?}"
    );
    assert!(both.payer.is_pending(hash).await);
    let early = "not eligible for revocation yet";
    refused(both.revoke().await, Code::InvalidArgument, early);
    let htlcs = both.payee.ask_htlcs(sandbox, hash).await.unwrap();
    both.claim(htlcs).await;
    assert!(both.payer.is_paid(hash).await);
    assert_eq!(
        both.payer.told_outcomes().await,
        [Some(both.preimage.to_vec())]
    );
    assert_eq!(
        both.payee.receive_status(hash).await,
        LightningReceiveStatus::Settled
    );
    let ledger = sandbox.server.lightning_ledger().unwrap();
    assert_eq!((ledger.taken_sat, ledger.granted_sat), (5_000, 5_000));
    assert_eq!(
        (ledger.network.sent_msat, ledger.network.received_msat),
        (0, 0)
    );
    assert_eq!(ledger.earned_msat, 0);
    assert_eq!(
        sandbox.server.ledger().unwrap().spendable.amount,
        sat(20_000)
    );
}

/// docs/protocol.md §40.4.
#[tokio::test]
async fn between_claim_and_settlement_the_payer_is_pending_and_cannot_revoke() {
    let both = paying().await;
    let htlcs = both
        .payee
        .ask_htlcs(&both.sandbox, both.hash())
        .await
        .unwrap();
    let stuck = Fault {
        times: None,
        ..fault("lnrecv.settle", Action::Withhold)
    };
    let stuck = both.sandbox.server.faults().add(stuck).unwrap();
    both.claim(htlcs).await;
    assert!(both.payer.is_pending(both.hash()).await);
    let text = format!("preimage: {}", both.preimage);
    refused(both.revoke().await, Code::InvalidArgument, &text);
    both.sandbox.server.faults().remove(stuck);
    both.sandbox.jobs().await;
    assert!(both.payer.is_paid(both.hash()).await);
}

/// docs/protocol.md §40.4.
#[tokio::test]
async fn a_payee_that_does_not_prepare_fails_the_payer_after_three_minutes() {
    let both = paying().await;
    both.sandbox.advance(181).await;
    assert!(both.payer.has_failed(both.hash()).await);
    assert_eq!(both.payer.told_outcomes().await, [None]);
    both.revoke().await.unwrap();
    let status = both.payee.receive_status(both.hash()).await;
    assert_eq!(status, LightningReceiveStatus::Canceled);
    assert_eq!(both.sandbox.earned(), 0);
}

/// docs/protocol.md §40.4.
#[tokio::test]
async fn a_payee_that_cancels_leaves_the_payer_pending_until_its_htlc_expires() {
    let both = paying().await;
    both.payee.cancel(both.hash()).await.unwrap();
    both.sandbox.advance(3600).await;
    assert!(both.payer.is_pending(both.hash()).await);
    let early = "not eligible for revocation yet";
    refused(both.revoke().await, Code::InvalidArgument, early);
    both.sandbox.mine_blocks(SEND_DELTA + 1).await;
    both.revoke().await.unwrap();
}

/// docs/protocol.md §40.2, §40.4.
#[tokio::test]
async fn a_silent_payee_with_htlcs_blocks_the_revocation_until_its_invoice_expires() {
    let both = paying().await;
    both.payee
        .ask_htlcs(&both.sandbox, both.hash())
        .await
        .unwrap();
    both.sandbox.mine_blocks(SEND_DELTA + 1).await;
    let committed = "receive is already committed";
    refused(both.revoke().await, Code::InvalidArgument, committed);
    both.sandbox.advance(601).await;
    assert!(both.payer.has_failed(both.hash()).await);
    both.revoke().await.unwrap();
}

/// docs/protocol.md §40.2.
#[tokio::test]
async fn a_revocation_cancels_the_receive() {
    let both = paying().await;
    both.sandbox.mine_blocks(SEND_DELTA + 1).await;
    both.revoke().await.unwrap();
    let status = both.payee.receive_status(both.hash()).await;
    assert_eq!(status, LightningReceiveStatus::Canceled);
    let late = both.payee.ask_htlcs(&both.sandbox, both.hash()).await;
    refused(late, Code::InvalidArgument, "payment canceled");
}

/// docs/protocol.md §40.4.
#[tokio::test]
async fn a_failed_cancel_at_the_node_fails_the_payer_although_the_payee_can_claim() {
    let both = about_to_pay().await;
    let failing = fault("lnsend.intra.cancel", Action::Withhold);
    both.sandbox.server.faults().add(failing).unwrap();
    both.pay().await.unwrap();
    assert!(both.payer.has_failed(both.hash()).await);
    let htlcs = both
        .payee
        .ask_htlcs(&both.sandbox, both.hash())
        .await
        .unwrap();
    both.claim(htlcs).await;
    assert!(both.payer.has_failed(both.hash()).await);
    let text = format!("preimage: {}", both.preimage);
    refused(both.revoke().await, Code::InvalidArgument, &text);
    assert_eq!(both.payer.told_outcomes().await, [None]);
    assert_eq!(both.sandbox.earned(), 0);
}

/// docs/protocol.md §40.4.
#[tokio::test]
async fn a_crash_between_the_two_halves_leaves_what_was_committed() {
    let both = about_to_pay().await;
    let faults = both.sandbox.server.faults();
    faults
        .add(fault("lnsend.intra.accepted", Action::Crash))
        .unwrap();
    both.pay().await.unwrap_err();
    let payee = both.payee.reconnected(&both.sandbox).await;
    let payer = both.payer.reconnected(&both.sandbox).await;
    let both = Both {
        payee,
        payer,
        ..both
    };
    assert!(both.payer.is_pending(both.hash()).await);
    assert!(both.payee.told().await.is_empty(), "the post is lost");
    let htlcs = both
        .payee
        .ask_htlcs(&both.sandbox, both.hash())
        .await
        .unwrap();
    both.claim(htlcs).await;
    assert!(both.payer.is_paid(both.hash()).await);
}

/// docs/protocol.md §40.4: an attempt without its second half is ended by nobody.
#[tokio::test]
async fn a_crash_after_the_first_half_leaves_the_payer_pending_until_its_htlc_expires() {
    let both = about_to_pay().await;
    let faults = both.sandbox.server.faults();
    faults.add(fault("lnsend.attempt", Action::Crash)).unwrap();
    both.pay().await.unwrap_err();
    let payer = both.payer.reconnected(&both.sandbox).await;
    let payee = both.payee.reconnected(&both.sandbox).await;
    let both = Both {
        payee,
        payer,
        ..both
    };
    both.sandbox.advance(300).await;
    assert!(both.payer.is_pending(both.hash()).await);
    let status = both.payee.receive_status(both.hash()).await;
    assert_eq!(status, LightningReceiveStatus::Created);
    both.sandbox.mine_blocks(SEND_DELTA + 1).await;
    both.revoke().await.unwrap();
}

/// docs/protocol.md §40.2, §40.4.
#[tokio::test]
async fn only_the_invoice_that_was_issued_is_paid_and_only_once() {
    let both = about_to_pay().await;
    let terms = crate::lightning::InvoiceTerms {
        hash: both.hash(),
        amount_msat: Some(5_000_000),
        description: crate::lightning::Description::Text("tea".to_owned()),
        created: both.sandbox.server.lightning().clock().now(),
        expiry: Duration::from_secs(600),
        min_final_cltv: 56,
        currency: lightning_invoice::Currency::Regtest,
    };
    let forged = Invoice::Bolt11(terms.sign(&new_key()).unwrap());
    let refusal = both.payer.initiate(&forged, &[&both.htlc], 5_000).await;
    refused(
        refusal,
        Code::InvalidArgument,
        "does not match the invoice we issued",
    );

    // The world is faster: the attempt is stored, and fails at once.
    both.sandbox.world_pays(&both.invoice.to_string()).await;
    both.pay().await.unwrap();
    assert!(both.payer.has_failed(both.hash()).await);
    let htlcs = both
        .payee
        .ask_htlcs(&both.sandbox, both.hash())
        .await
        .unwrap();
    both.claim(htlcs).await;
    let ledger = both.sandbox.server.lightning_ledger().unwrap();
    assert_eq!(
        (ledger.network.received_msat, ledger.taken_sat),
        (5_000_000, 0)
    );
    assert_eq!(ledger.earned_msat, 0);
}
