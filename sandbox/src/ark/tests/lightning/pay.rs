use super::super::round::waiting_for;
use super::*;
use crate::ark::charging_fees;

#[tokio::test]
async fn the_world_is_paid_and_the_payer_gets_the_preimage() {
    let params = Params {
        fees: charging_fees(),
        min_board_amount: sat(330),
        ..Params::free()
    };
    let (sandbox, wallet) = start(params).await;
    let invoice = sandbox.world_invoice(5_000, Outcome::default());
    let hash = invoice.payment_hash();
    let input = sandbox.board(&wallet, sat(20_000)).await;
    // The table asks for 4000 ppm at this age: 75 + 20 sat.
    let short = wallet.htlc(&sandbox, &input, hash, 5_094).await;
    let less = "is less than the payment amount";
    refused(
        wallet.initiate(&invoice, &[&short], 5_000).await,
        Code::InvalidArgument,
        less,
    );
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let htlc = wallet.htlc(&sandbox, &input, hash, 5_100).await;
    assert_eq!(wallet.spend_state(&htlc).await, VtxoSpendState::Spendable);
    wallet.initiate(&invoice, &[&htlc], 5_000).await.unwrap();
    let ended = wallet.check(hash, true).await.unwrap();
    assert!(matches!(ended, PaymentStatus::Success(_)), "{ended:?}");
    assert!(wallet.is_paid(hash).await);
    assert_eq!(sandbox.state(htlc.id()), "ln-spent");
    assert_eq!(wallet.spend_state(&htlc).await, VtxoSpendState::Spent);

    sandbox.jobs().await;
    let told = wallet.told_outcomes().await;
    assert_eq!(told.len(), 1);
    let preimage = Preimage::try_from(told[0].clone().unwrap()).unwrap();
    assert_eq!(preimage.compute_payment_hash(), hash);
    let ledger = sandbox.server.lightning_ledger().unwrap();
    assert_eq!(
        (ledger.taken_sat, ledger.network.sent_msat),
        (5_100, 5_000_000)
    );
    assert_eq!(ledger.earned_msat, 100_000);
}

#[tokio::test]
async fn the_checks_of_the_cosign_come_in_order() {
    let (sandbox, wallet) = start(waiting_for(1)).await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let unlock = sandbox.refresh(&wallet, &old).await.unlock_hash;
    let unlock = PaymentHash::from(unlock);
    let me = wallet.key.public_key();
    let tip = sandbox.tip().await;
    let paid = sandbox.world_invoice(1_000, Outcome::default());
    let open = sandbox.world_invoice(1_000, Outcome::Hold);
    wallet.try_to_pay(&sandbox, &paid, 1_000).await;
    wallet.try_to_pay(&sandbox, &open, 1_000).await;
    assert!(sandbox.tip().await > tip);
    let tip = sandbox.tip().await;

    let hash = Preimage::random().compute_payment_hash();
    let none = wallet.payment(&input, &[(me, 20_000)]);
    let policy =
        |hash, expiry: u32| VtxoPolicy::new_server_htlc_send(me, hash, BlockHeight::new(expiry));
    let two = [
        (policy(hash, tip + 100), 1_000),
        (policy(hash, tip + 101), 1_000),
    ];
    let differ = wallet.spend(&input, &two);
    let htlc = |hash, expiry| wallet.htlc_payment(&input, hash, 1_000, expiry);
    let refuse = Code::InvalidArgument;
    for (payment, code, text) in [
        (none, refuse, "no HTLC outputs provided"),
        (differ, Code::Internal, "differ"),
        // A row that fails two checks reports the first.
        (
            htlc(unlock, tip),
            refuse,
            "collides with an existing unlock hash",
        ),
        (
            htlc(paid.payment_hash(), tip),
            refuse,
            "invoice has already been paid",
        ),
        (
            htlc(open.payment_hash(), tip + 98),
            refuse,
            "requested expiry is too low",
        ),
        (
            htlc(open.payment_hash(), tip + 99),
            refuse,
            "payment already in progress",
        ),
    ] {
        refused(wallet.cosign_htlc(&payment).await, code, text);
    }

    let good = htlc(hash, tip + 99);
    let mut client = wallet.rpc.client.clone();
    let request = |change: &dyn Fn(&mut protos::ArkoorCosignRequest)| {
        let mut parts = protos::ArkoorPackageCosignRequest::from(good.cosign_request()).parts;
        change(&mut parts[0]);
        protos::LightningPayHtlcCosignRequest { parts }
    };
    let direct = request(&|part| part.use_checkpoint = false);
    let direct = client.request_lightning_pay_htlc_cosign(direct).await;
    refused(direct, refuse, "invalid cosign request");
    let unknown = request(&|part| part.input_vtxo_id = vec![1; 36]);
    let unknown = client.request_lightning_pay_htlc_cosign(unknown).await;
    refused(unknown, Code::NotFound, "");
    let broken = request(&|part| part.attestation = vec![1; 3]);
    let broken = client.request_lightning_pay_htlc_cosign(broken).await;
    refused(broken, Code::Internal, "");
    let mut twice = request(&|_| {});
    twice.parts.push(twice.parts[0].clone());
    let twice = client.request_lightning_pay_htlc_cosign(twice).await;
    refused(twice, Code::NotFound, "");

    wallet.cosign_htlc(&good).await.unwrap();
    let other = wallet.htlc_payment(&input, hash, 2_000, tip + 100);
    refused(wallet.cosign_htlc(&other).await, refuse, "already spent");
}

/// docs/protocol.md §40.2: the check of the expiry comes before the rule for repetitions.
#[tokio::test]
async fn a_cosign_is_repeated_until_its_expiry_is_too_low() {
    let (sandbox, wallet) = start(Params::free()).await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let hash = Preimage::random().compute_payment_hash();
    let expiry = sandbox.tip().await + SEND_DELTA;
    let payment = wallet.htlc_payment(&input, hash, 1_000, expiry);
    let faults = sandbox.server.faults();
    let lost = fault("RequestLightningPayHtlcCosign", Action::DropAfter);
    faults.add(lost).unwrap();
    wallet.cosign_htlc(&payment).await.unwrap_err();
    sandbox.mine_blocks(1).await;
    wallet.cosign_htlc(&payment).await.unwrap();
    sandbox.mine_blocks(1).await;
    let again = wallet.cosign_htlc(&payment).await;
    refused(again, Code::InvalidArgument, "requested expiry is too low");
    assert_eq!(wallet.spend_state(&input).await, VtxoSpendState::Spent);
    let htlc = payment.build_unsigned_vtxos().next().unwrap();
    assert_eq!(
        wallet.spend_state(&htlc).await,
        VtxoSpendState::Unregistered
    );
}

#[tokio::test]
async fn the_checks_of_the_payment_come_in_order() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let expiry = sandbox.tip().await + SEND_DELTA;
    let payment = wallet.htlc_payment(&input, invoice.payment_hash(), 2_500, expiry);
    let response = wallet.cosign_htlc(&payment).await.unwrap();
    let htlc = wallet.finish(payment, response).unwrap().remove(0);
    let other = sandbox.board(&wallet, sat(20_000)).await;
    let refuse = Code::InvalidArgument;
    let pay = async |htlc: &Vtxo<Full>, amount| wallet.initiate(&invoice, &[htlc], amount).await;
    refused(pay(&other, 1_000).await, refuse, "is not an htlc-send vtxo");
    refused(
        pay(&htlc, 1_000).await,
        refuse,
        "is not spendable (state: unregistered)",
    );
    wallet.register([&htlc]).await.unwrap();
    let stranger = sandbox.world_invoice(1_000, Outcome::default());
    let mismatch = wallet.initiate(&stranger, &[&htlc], 1_000).await;
    refused(mismatch, refuse, "doesn't match invoice");
    refused(pay(&htlc, 999).await, refuse, "too low for invoice");
    refused(pay(&htlc, 2_001).await, refuse, "more than double");
    pay(&htlc, 2_000).await.unwrap();
    sandbox.jobs().await;
    refused(
        pay(&htlc, 1_000).await,
        refuse,
        "is not spendable (state: ln-spent)",
    );
    // What exceeds the invoice stays with the server.
    assert_eq!(sandbox.earned(), 1_500_000);
    let garbled: Result<(), Status> = {
        let mut client = wallet.rpc.client.clone();
        let request = protos::InitiateLightningPaymentRequest::default();
        client.initiate_lightning_payment(request).await.map(drop)
    };
    refused(garbled, refuse, "invalid invoice");
}

#[tokio::test]
async fn an_exited_htlc_neither_pays_nor_is_revoked() {
    let (sandbox, wallet) = start(Params::free()).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let htlc = wallet
        .htlc(&sandbox, &input, invoice.payment_hash(), 1_000)
        .await;
    sandbox.exit(&htlc).await;
    let paid = wallet.initiate(&invoice, &[&htlc], 1_000).await;
    refused(paid, Code::InvalidArgument, "has exited onchain");
    assert_eq!(wallet.spend_state(&htlc).await, VtxoSpendState::Spendable);
    let revocation = wallet.claim_of(&[htlc], wallet.key.public_key());
    let revoked = wallet.revoke(&revocation).await;
    refused(revoked, Code::InvalidArgument, "has exited onchain");
}

#[tokio::test]
async fn each_fault_of_a_payment_acts_where_it_says() {
    let (sandbox, wallet) = start(Params::free()).await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let invoice = sandbox.world_invoice(1_000, Outcome::default());
    let hash = invoice.payment_hash();
    let expiry = sandbox.tip().await + SEND_DELTA + 20;
    let payment = || wallet.htlc_payment(&input, hash, 1_000, expiry);
    let faults = sandbox.server.faults();
    let refuse = fault("lnsend.htlc.persisted", Action::RefuseInputs);
    faults.add(refuse).unwrap();
    let refusal = wallet.cosign_htlc(&payment()).await;
    refused(refusal, Code::InvalidArgument, "not spendable");
    assert_eq!(wallet.spend_state(&input).await, VtxoSpendState::Spent);
    for action in [Action::WrongSignature, Action::MissingSignature] {
        faults.add(fault("lnsend.htlc.response", action)).unwrap();
        let payment = payment();
        let response = wallet.cosign_htlc(&payment).await.unwrap();
        assert!(wallet.finish(payment, response).is_none());
    }
    let htlc = {
        let payment = payment();
        let response = wallet.cosign_htlc(&payment).await.unwrap();
        wallet.finish(payment, response).unwrap().remove(0)
    };
    wallet.register([&htlc]).await.unwrap();
    faults
        .add(fault("lnsend.finished", Action::Withhold))
        .unwrap();
    wallet.initiate(&invoice, &[&htlc], 1_000).await.unwrap();
    sandbox.jobs().await;
    assert!(wallet.told().await.is_empty());
    faults
        .add(fault("lnsend.check", Action::WrongPreimage))
        .unwrap();
    assert!(!wallet.is_paid(hash).await);
    faults.add(fault("lnsend.check", Action::NotFound)).unwrap();
    refused(wallet.check(hash, false).await, Code::NotFound, "not found");
    assert!(wallet.is_paid(hash).await);
}
