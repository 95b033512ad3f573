use lightning_invoice::Bolt11Invoice;

use super::*;

/// The steps of a receive that the world pays, up to the HTLCs.
pub(super) async fn held(sandbox: &Sandbox, wallet: &Wallet, amount: u64) -> Preimage {
    let preimage = Preimage::random();
    let invoice = wallet.start(preimage.compute_payment_hash(), amount).await;
    sandbox.world_pays(&invoice.unwrap()).await;
    preimage
}

#[tokio::test]
async fn the_world_pays_and_the_payee_claims() {
    let mut params = Params::free();
    params.fees.lightning_receive = crate::ark::charging_fees().lightning_receive;
    let (sandbox, wallet) = start(params).await;
    let preimage = Preimage::random();
    let hash = preimage.compute_payment_hash();
    let bolt11 = wallet.start(hash, 5_000).await.unwrap();
    let invoice: Bolt11Invoice = bolt11.parse().unwrap();
    assert_eq!(invoice.network(), Network::Regtest);
    assert_eq!(invoice.amount_milli_satoshis(), Some(5_000_000));
    assert_eq!(
        invoice.min_final_cltv_expiry_delta(),
        u64::from(MIN_CLTV) + 6
    );
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Created
    );
    assert!(wallet.told().await.is_empty());

    sandbox.world_pays(&bolt11).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Accepted
    );
    let told = wallet.told().await;
    let [Message::IncomingLightningPayment(incoming)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(incoming.payment_hash, hash.to_vec());
    assert_eq!(incoming.amount_msat, 5_000_000);

    let htlcs = wallet.ask_htlcs(&sandbox, hash).await.unwrap();
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::HtlcsReady
    );
    let [htlc] = &htlcs[..] else {
        panic!("{htlcs:?}")
    };
    assert_eq!(htlc.amount(), sat(5_000 - 110));
    let anchor = sandbox
        .chain
        .tx(htlc.chain_anchor().txid)
        .await
        .unwrap()
        .unwrap();
    assert!(anchor.block.is_none(), "its anchor is in the mempool");
    htlc.validate(&anchor.tx).unwrap();
    let policy = htlc.policy().as_server_htlc_recv().unwrap();
    assert_eq!(policy.payment_hash, hash);
    let state = wallet.spend_state(htlc).await;
    assert_eq!(state, VtxoSpendState::HtlcRecvUnclaimed);

    let claim = wallet.claim_of(&htlcs, wallet.key.public_key());
    let response = wallet.claim_receive(preimage, &claim).await.unwrap();
    assert_eq!(wallet.complete(claim, response).await, 4_890);
    sandbox.jobs().await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Settled
    );
    let hold = sandbox.server.lightning().hold(hash).unwrap().unwrap();
    assert_eq!(hold.preimage, Some(preimage));
    let ledger = sandbox.server.lightning_ledger().unwrap();
    assert_eq!(
        (ledger.granted_sat, ledger.network.received_msat),
        (4_890, 5_000_000)
    );
    assert_eq!(ledger.earned_msat, 110_000);
    assert_eq!(
        sandbox.server.ledger().unwrap().spendable.amount,
        sat(4_890)
    );
}

#[tokio::test]
async fn the_checks_of_the_invoice_come_in_order() {
    let mut params = Params {
        max_vtxo_amount: Some(sat(50_000)),
        max_ln_receive_amount: Some(sat(40_000)),
        ..Params::free()
    };
    params.fees.lightning_receive = crate::ark::charging_fees().lightning_receive;
    let (sandbox, wallet) = start(params).await;
    let hash = Preimage::random().compute_payment_hash();
    let (refuse, internal) = (Code::InvalidArgument, Code::Internal);
    let mut request = wallet.start_request(hash, 0);
    request.description = Some("x".repeat(1_000));
    request.min_cltv_delta = 61;
    let start = |request: &protos::StartLightningReceiveRequest| wallet.start_with(request.clone());
    refused(start(&request).await, refuse, "0 sat");
    request.amount_sat = 100;
    refused(start(&request).await, refuse, "invalid invoice description");
    request.description = None;
    refused(start(&request).await, internal, "min_cltv_delta");
    request.min_cltv_delta = 60 + 65_536; // cut to 16 bits
    refused(start(&request).await, internal, "fee");
    request.amount_sat = 50_001;
    refused(start(&request).await, refuse, "exceeds limit");
    request.amount_sat = 40_001;
    refused(
        start(&request).await,
        refuse,
        "exceeds lightning receive limit",
    );
    request.amount_sat = 40_000;
    sandbox.server.lightning().set_online(false);
    refused(start(&request).await, internal, "no active hold-compatible");
    sandbox.server.lightning().set_online(true);
    let invoice: Bolt11Invoice = start(&request).await.unwrap().parse().unwrap();
    assert_eq!(invoice.min_final_cltv_expiry_delta(), 66);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn an_unpaid_invoice_is_given_out_again_and_a_used_hash_never_works_again() {
    let (sandbox, wallet) = start(Params::free()).await;
    let preimage = Preimage::random();
    let hash = preimage.compute_payment_hash();
    let first = wallet.start(hash, 5_000).await.unwrap();
    assert_eq!(wallet.start(hash, 6_000).await.unwrap(), first);
    sandbox.world_pays(&first).await;
    refused(
        wallet.start(hash, 5_000).await,
        Code::Internal,
        "invoice already accepted",
    );
    wallet.cancel(hash).await.unwrap();
    wallet.cancel(hash).await.unwrap();
    let again = wallet.start(hash, 5_000).await;
    refused(
        again,
        Code::Internal,
        "the node has an invoice with this hash",
    );

    let crash = fault("lnrecv.injected", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    let torn = Preimage::random().compute_payment_hash();
    wallet.start(torn, 5_000).await.unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    let again = wallet.start(torn, 5_000).await;
    refused(
        again,
        Code::Internal,
        "the node has an invoice with this hash",
    );
}

#[tokio::test]
async fn a_receive_survives_restarts_of_server_and_process() {
    let (sandbox, wallet) = start(Params::free()).await;
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let options = ArkServerOptions {
            chain: sandbox.chain.clone(),
            params: Params::free(),
            directory: Some(directory.path().to_owned()),
            seed: None,
            port: 0,
            admin_port: None,
        };
        let server = ArkServer::start(options).await.unwrap();
        let chain = sandbox.chain.clone();
        Sandbox { chain, server }
    };
    let first = open().await;
    first.fund_server().await;
    let wallet = wallet.reconnected(&first).await;
    let preimage = held(&first, &wallet, 5_000).await;
    let hash = preimage.compute_payment_hash();
    let htlcs = wallet.ask_htlcs(&first, hash).await.unwrap();
    first.server.stop().await;

    let second = open().await;
    let wallet = wallet.reconnected(&second).await;
    assert_eq!(wallet.ask_htlcs(&second, hash).await.unwrap(), htlcs);
    second.server.restart().await;
    let wallet = wallet.reconnected(&second).await;
    let claim = wallet.claim_of(&htlcs, wallet.key.public_key());
    let response = wallet.claim_receive(preimage, &claim).await.unwrap();
    wallet.complete(claim, response).await;
    second.jobs().await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Settled
    );
    assert_eq!(second.earned(), 0);
}

#[tokio::test]
async fn a_held_payment_that_nobody_prepares_is_given_back_after_three_minutes() {
    let (sandbox, wallet) = start(Params::free()).await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    sandbox.advance(170).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Accepted
    );
    sandbox.advance(11).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Canceled
    );
    assert!(sandbox.server.lightning().held().unwrap().is_empty());
    refused(
        wallet.ask_htlcs(&sandbox, hash).await,
        Code::InvalidArgument,
        "payment canceled",
    );
    assert_eq!(wallet.told().await.len(), 1, "nothing is posted for it");
}

#[tokio::test]
async fn a_server_whose_clock_is_ahead_gives_a_held_payment_back_early() {
    let (sandbox, wallet) = start(Params::free()).await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    let ahead = Fault {
        times: None,
        ..fault("clock", Action::SkewClock { seconds: 11 })
    };
    sandbox.server.faults().add(ahead).unwrap();
    sandbox.advance(170).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Canceled
    );
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn prepared_htlcs_end_the_window_and_the_invoices_expiry_ends_the_receive() {
    let (sandbox, wallet) = start(Params::free()).await;
    let preimage = held(&sandbox, &wallet, 5_000).await;
    let hash = preimage.compute_payment_hash();
    let htlcs = wallet.ask_htlcs(&sandbox, hash).await.unwrap();
    sandbox.advance(500).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::HtlcsReady
    );
    let granted = "already been granted";
    refused(wallet.cancel(hash).await, Code::InvalidArgument, granted);
    sandbox.advance(101).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Canceled
    );
    let claim = wallet.claim_of(&htlcs, wallet.key.public_key());
    let refusal = wallet.claim_receive(preimage, &claim).await;
    refused(
        refusal,
        Code::InvalidArgument,
        "payment status in incorrect state",
    );
    let state = wallet.spend_state(&htlcs[0]).await;
    assert_eq!(state, VtxoSpendState::HtlcRecvUnclaimed);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn a_payment_that_is_noticed_two_blocks_late_is_cancelled_and_stays_held() {
    let (sandbox, wallet) = start(Params::free()).await;
    let network = sandbox.server.lightning();
    let started = async || {
        let hash = Preimage::random().compute_payment_hash();
        (hash, wallet.start(hash, 5_000).await.unwrap())
    };
    for (blocks, status) in [
        (1, LightningReceiveStatus::Accepted),
        (2, LightningReceiveStatus::Canceled),
    ] {
        let (hash, invoice) = started().await;
        network.set_noticing(false);
        sandbox.world_pays(&invoice).await;
        assert_eq!(
            wallet.receive_status(hash).await,
            LightningReceiveStatus::Created
        );
        sandbox.chain.mine(blocks).await.unwrap();
        network.set_noticing(true);
        sandbox.jobs().await;
        assert_eq!(wallet.receive_status(hash).await, status);
        assert!(network.held().unwrap().contains(&hash));
    }
    let ledger = sandbox.server.lightning_ledger().unwrap();
    assert_eq!(ledger.network.held_msat, 10_000_000);
    assert_eq!(ledger.stranded_msat, 5_000_000);
}

#[tokio::test]
async fn a_lost_post_about_a_payment_is_never_repeated() {
    let (sandbox, wallet) = start(Params::free()).await;
    let faults = sandbox.server.faults();
    faults
        .add(fault("lnrecv.accepted", Action::Withhold))
        .unwrap();
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    sandbox.advance(10).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Accepted
    );
    assert!(wallet.told().await.is_empty());
    let request = protos::CheckLightningReceiveRequest {
        hash: hash.to_vec(),
        wait: true,
    };
    let mut client = wallet.rpc.client.clone();
    let waited = client.check_lightning_receive(request).await.unwrap();
    let waited = waited.into_inner();
    assert_eq!(waited.status(), LightningReceiveStatus::Accepted);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn anybody_can_cancel_and_an_unknown_hash_is_named() {
    let (sandbox, wallet) = start(Params::free()).await;
    let stranger = sandbox.wallet().await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    sandbox.server.lightning().set_online(false);
    let offline = stranger.cancel(hash).await;
    refused(offline, Code::Internal, "could not cancel hold invoice");
    sandbox.server.lightning().set_online(true);
    stranger.cancel(hash).await.unwrap();
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Canceled
    );
    let unknown = Preimage::random().compute_payment_hash();
    let status = stranger.cancel(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let named = status.metadata().get("identifiers").unwrap();
    assert_eq!(named.to_str().unwrap(), unknown.to_string());
}

/// docs/protocol.md §40.3: the end of a receive wakes nobody who waits.
#[tokio::test]
async fn waiting_for_a_cancelled_receive_lasts_until_the_callers_deadline() {
    let (sandbox, wallet) = start(Params::free()).await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    wallet.cancel(hash).await.unwrap();
    let mut request = server_rpc::tonic::Request::new(protos::CheckLightningReceiveRequest {
        hash: hash.to_vec(),
        wait: true,
    });
    request.set_timeout(Duration::from_millis(50));
    let mut client = wallet.rpc.client.clone();
    let status = client.check_lightning_receive(request).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
        "{status}"
    );
}
