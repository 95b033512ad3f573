use ark_lib::vtxo::policy::clause::TapScriptClause;
use bitcoin::TapSighashType;
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};

use super::receive::held;
use super::*;

/// A receive with its HTLCs.
async fn prepared(sandbox: &Sandbox, wallet: &Wallet, amount: u64) -> (Preimage, Vec<Vtxo<Full>>) {
    let preimage = held(sandbox, wallet, amount).await;
    let hash = preimage.compute_payment_hash();
    (preimage, wallet.ask_htlcs(sandbox, hash).await.unwrap())
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn the_checks_of_a_claim_come_in_order_and_no_preimage_is_kept_before_them() {
    let (sandbox, wallet) = start(Params::free()).await;
    let me = wallet.key.public_key();
    let (refuse, internal) = (Code::InvalidArgument, Code::Internal);
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 25_000).await;
    let hash = preimage.compute_payment_hash();
    let htlcs = sorted(htlcs);
    assert_eq!(htlcs.len(), 3);
    let good = wallet.claim_of(&htlcs, me);
    let request = |change: &dyn Fn(&mut protos::ClaimLightningReceiveRequest)| {
        let mut request = protos::ClaimLightningReceiveRequest {
            payment_hash: hash.to_vec(),
            payment_preimage: preimage.to_vec(),
            cosign_request: Some(good.cosign_request().into()),
        };
        change(&mut request);
        let mut client = wallet.rpc.client.clone();
        async move { client.claim_lightning_receive(request).await }
    };
    let wrong = request(&|request| request.payment_preimage = vec![1; 32]).await;
    refused(wrong, refuse, "preimage");
    let empty = request(&|request| request.cosign_request = Some(Default::default())).await;
    refused(empty, internal, "no output");
    let unknown = Preimage::random();
    let unknown = request(&|request| {
        request.payment_preimage = unknown.to_vec();
        request.payment_hash = unknown.compute_payment_hash().to_vec();
    });
    refused(unknown.await, Code::NotFound, "invoice not found");
    let unsorted = request(&|request| {
        let parts = &mut request.cosign_request.as_mut().unwrap().parts;
        parts.reverse();
    });
    refused(unsorted.await, refuse, "cosign inputs do not match htlcs");
    let direct = request(&|request| {
        let parts = &mut request.cosign_request.as_mut().unwrap().parts;
        parts[0].use_checkpoint = false;
    });
    refused(direct.await, refuse, "checkpoints");
    let broken = request(&|request| {
        let parts = &mut request.cosign_request.as_mut().unwrap().parts;
        parts[0].attestation = vec![1];
    });
    refused(broken.await, refuse, "");
    sandbox.jobs().await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::HtlcsReady
    );
    assert_eq!(
        sandbox
            .server
            .lightning_ledger()
            .unwrap()
            .network
            .received_msat,
        0
    );

    let early = held(&sandbox, &wallet, 1_000).await;
    let refusal = wallet.claim_receive(early, &good).await;
    refused(refusal, refuse, "payment status in incorrect state");
    let response = wallet.claim_receive(preimage, &good).await.unwrap();
    assert_eq!(wallet.complete(good, response).await, 25_000);
}

#[tokio::test]
async fn a_claim_too_close_to_the_expiry_is_refused() {
    let (sandbox, wallet) = start(Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let claim = wallet.claim_of(&htlcs, wallet.key.public_key());
    sandbox.mine_blocks(MIN_CLTV + 6 - 3 + 1).await;
    let late = wallet.claim_receive(preimage, &claim).await;
    refused(
        late,
        Code::InvalidArgument,
        "too close to the current chaintip",
    );
    // The node gave the payment back; the status does not show it.
    let hash = preimage.compute_payment_hash();
    assert!(sandbox.server.lightning().held().unwrap().is_empty());
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::HtlcsReady
    );
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn a_claim_can_be_repeated_at_any_time_with_the_same_key() {
    let (sandbox, wallet) = start(Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let hash = preimage.compute_payment_hash();
    let me = wallet.key.public_key();
    for hook in ["lnrecv.preimage_seen", "lnrecv.claim.persisted"] {
        sandbox
            .server
            .faults()
            .add(fault(hook, Action::Crash))
            .unwrap();
    }
    wallet
        .claim_receive(preimage, &wallet.claim_of(&htlcs, me))
        .await
        .unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    wallet
        .claim_receive(preimage, &wallet.claim_of(&htlcs, me))
        .await
        .unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    sandbox.jobs().await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Settled
    );
    sandbox.mine_blocks(80).await;
    for _ in 0..2 {
        let claim = wallet.claim_of(&htlcs, me);
        let response = wallet.claim_receive(preimage, &claim).await.unwrap();
        assert_eq!(wallet.complete(claim, response).await, 5_000);
    }
    let other = wallet.claim_of(&htlcs, new_key().public_key());
    refused(
        wallet.claim_receive(preimage, &other).await,
        Code::Internal,
        "already spent",
    );
    assert_eq!(
        sandbox.server.ledger().unwrap().spendable.amount,
        sat(5_000)
    );
    assert_eq!(sandbox.earned(), 0);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn a_refusal_can_follow_the_preimage() {
    let (sandbox, wallet) = start(Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    sandbox.chain.mine(1).await.unwrap();
    sandbox.exit(&htlcs[0]).await;
    let claim = wallet.claim_of(&htlcs, wallet.key.public_key());
    let refusal = wallet.claim_receive(preimage, &claim).await;
    refused(refusal, Code::InvalidArgument, "has exited onchain");
    sandbox.jobs().await;
    let ledger = sandbox.server.lightning_ledger().unwrap();
    assert_eq!(ledger.network.received_msat, 5_000_000);

    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let refuse = fault("lnrecv.preimage_seen", Action::RefuseInputs);
    sandbox.server.faults().add(refuse).unwrap();
    let claim = wallet.claim_of(&htlcs, wallet.key.public_key());
    let refusal = wallet.claim_receive(preimage, &claim).await;
    refused(refusal, Code::InvalidArgument, "not spendable");
    sandbox.jobs().await;
    let response = wallet.claim_receive(preimage, &claim).await.unwrap();
    assert_eq!(wallet.complete(claim, response).await, 5_000);
    assert_eq!(sandbox.earned(), 0);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn one_payment_that_cannot_be_settled_blocks_the_next_until_its_invoice_expires() {
    let (sandbox, wallet) = start(Params::free()).await;
    let me = wallet.key.public_key();
    let (stuck, stuck_htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let network = sandbox.server.lightning();
    network.cancel(stuck.compute_payment_hash()).unwrap();
    wallet
        .claim_receive(stuck, &wallet.claim_of(&stuck_htlcs, me))
        .await
        .unwrap();
    sandbox.advance(300).await;
    let (next, next_htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    wallet
        .claim_receive(next, &wallet.claim_of(&next_htlcs, me))
        .await
        .unwrap();
    sandbox.jobs().await;
    let hash = next.compute_payment_hash();
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::HtlcsReady
    );
    sandbox.advance(301).await;
    sandbox.jobs().await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Settled
    );
    let stuck = wallet.receive_status(stuck.compute_payment_hash()).await;
    assert_eq!(stuck, LightningReceiveStatus::Canceled);
}

/// Spends an exited HTLC with the preimage.
fn spend_on_chain(wallet: &Wallet, htlc: &Vtxo<Full>, preimage: Preimage) -> Transaction {
    let policy = htlc.policy().as_server_htlc_recv().unwrap();
    let clause = policy.user_reveals_preimage_clause(htlc.exit_delta());
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: htlc.point(),
            sequence: clause.sequence(),
            ..TxIn::default()
        }],
        output: vec![TxOut {
            value: htlc.amount() - sat(1_000),
            script_pubkey: anyone_can_spend().to_p2wsh(),
        }],
    };
    let leaf = TapLeafHash::from_script(&clause.tapscript(), LeafVersion::TapScript);
    let sighash = SighashCache::new(&tx)
        .taproot_script_spend_signature_hash(
            0,
            &Prevouts::All(&[htlc.txout()]),
            leaf,
            TapSighashType::Default,
        )
        .unwrap();
    let signature = SECP.sign_schnorr(&sighash.into(), &wallet.key);
    let control_block = clause.control_block(htlc);
    tx.input[0].witness = clause.witness(&(signature, preimage.into()), &control_block);
    tx
}

#[tokio::test]
async fn a_preimage_is_read_from_the_confirmed_spend_of_an_exited_htlc() {
    let (sandbox, wallet) = start(Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let hash = preimage.compute_payment_hash();
    sandbox.mine_blocks(1).await;
    sandbox.exit(&htlcs[0]).await;
    sandbox.mine_blocks(18).await;
    let spend = spend_on_chain(&wallet, &htlcs[0], preimage);
    sandbox.chain.submit(spend).await.unwrap().unwrap();
    sandbox.jobs().await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::HtlcsReady
    );
    sandbox.mine_blocks(1).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Settled
    );
    let hold = sandbox.server.lightning().hold(hash).unwrap().unwrap();
    assert_eq!(hold.preimage, Some(preimage));
    assert_eq!(sandbox.earned(), 0);
}

#[tokio::test]
async fn the_time_that_a_claim_takes_is_noted() {
    let (sandbox, wallet) = start(Params::free()).await;
    let (preimage, htlcs) = prepared(&sandbox, &wallet, 5_000).await;
    let hash = preimage.compute_payment_hash();
    let claim_time = || sandbox.server.claim_time(hash).unwrap();
    assert_eq!(claim_time(), None);
    let waited = std::time::Duration::from_secs(7);
    sandbox.server.lightning().clock().advance(waited);
    let claim = wallet.claim_of(&sorted(htlcs), wallet.key.public_key());
    wallet.claim_receive(preimage, &claim).await.unwrap();
    let took = claim_time().unwrap();
    assert!(took >= waited && took < 2 * waited, "{took:?}");
}
