use ark_lib::attestations::LightningReceiveAttestation;
use server_rpc::protos::prepare_lightning_receive_claim_request::LightningReceiveAntiDos;

use super::receive::held;
use super::*;

/// docs/protocol.md §40.3.
#[tokio::test]
async fn the_checks_of_a_grant_come_in_order() {
    let (sandbox, wallet) = start(Params::free()).await;
    let refuse = Code::InvalidArgument;
    let unknown = Preimage::random().compute_payment_hash();
    refused(
        wallet.ask_htlcs(&sandbox, unknown).await,
        Code::NotFound,
        "invoice not found",
    );
    let unpaid = Preimage::random().compute_payment_hash();
    wallet.start(unpaid, 1_000).await.unwrap();
    let early = "not yet initiated by sender";
    refused(wallet.ask_htlcs(&sandbox, unpaid).await, refuse, early);

    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    let tip = sandbox.tip().await;
    let lowest = tip + MIN_CLTV + 6;
    let late = wallet
        .prepare_with(wallet.prepare_request(hash, tip + MIN_CLTV + 1))
        .await;
    let text = format!("lowest incoming HTLC expiry {lowest}");
    refused(late, refuse, &text);
    sandbox.mine_blocks(MIN_CLTV + 1).await;
    let close = wallet.prepare_with(wallet.prepare_request(hash, tip)).await;
    refused(close, refuse, "Inbound HTLC too close");
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn the_first_who_asks_gets_the_grant_and_everybody_else_sees_it() {
    let (sandbox, wallet) = start(Params::free()).await;
    let stranger = sandbox.wallet().await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    let taken = stranger.ask_htlcs(&sandbox, hash).await.unwrap();
    assert_eq!(taken[0].user_pubkey(), stranger.key.public_key());
    let shown = wallet.prepare_with(wallet.prepare_request(hash, 1)).await;
    assert_eq!(shown.unwrap(), taken);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn an_amount_above_the_pool_is_an_internal_error_until_the_window_ends() {
    let (sandbox, wallet) = start(Params {
        ln_pool: vec![(2, sat(1_000)), (1, sat(10_000))],
        ..Params::free()
    })
    .await;
    let hash = held(&sandbox, &wallet, 12_001).await.compute_payment_hash();
    let empty = "vtxo pool is empty";
    refused(
        wallet.ask_htlcs(&sandbox, hash).await,
        Code::Internal,
        empty,
    );
    let several = held(&sandbox, &wallet, 11_500).await.compute_payment_hash();
    let htlcs = wallet.ask_htlcs(&sandbox, several).await.unwrap();
    assert_eq!(htlcs.len(), 3);
    let sum: Amount = htlcs.iter().map(Vtxo::amount).sum();
    assert_eq!(sum, sat(11_500));

    // The change is left, and the rest comes back after a minute.
    let next = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    refused(
        wallet.ask_htlcs(&sandbox, next).await,
        Code::Internal,
        empty,
    );
    sandbox.advance(61).await;
    wallet.ask_htlcs(&sandbox, next).await.unwrap();
    refused(
        wallet.ask_htlcs(&sandbox, hash).await,
        Code::Internal,
        empty,
    );
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn later_grants_come_from_the_change_of_earlier_ones() {
    let (sandbox, wallet) = start(Params {
        ln_pool: vec![(1, sat(10_000))],
        ..Params::free()
    })
    .await;
    let one = held(&sandbox, &wallet, 3_000).await.compute_payment_hash();
    let one = wallet.ask_htlcs(&sandbox, one).await.unwrap();
    let two = held(&sandbox, &wallet, 3_000).await.compute_payment_hash();
    let two = wallet.ask_htlcs(&sandbox, two).await.unwrap();
    assert_eq!(one[0].chain_anchor(), two[0].chain_anchor());
    assert_eq!(two[0].exit_depth(), one[0].exit_depth() + 1);
    let path: Vec<_> = two[0]
        .transactions()
        .map(|item| item.tx.compute_txid())
        .collect();
    assert!(path.contains(&one[0].id().to_point().txid));
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn a_crash_before_the_grant_is_linked_orphans_it() {
    let (sandbox, wallet) = start(Params::free()).await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    let crash = fault("lnrecv.granted", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    wallet.ask_htlcs(&sandbox, hash).await.unwrap_err();
    let wallet = wallet.reconnected(&sandbox).await;
    assert_eq!(
        wallet.receive_status(hash).await,
        LightningReceiveStatus::Accepted
    );
    let granted = wallet.ask_htlcs(&sandbox, hash).await.unwrap();
    assert_eq!(sandbox.server.ledger().unwrap().granted.count, 2);
    assert_eq!(wallet.ask_htlcs(&sandbox, hash).await.unwrap(), granted);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn a_proof_is_checked_and_may_be_required() {
    let (sandbox, wallet) = start(Params {
        ln_receive_anti_dos_required: true,
        ..Params::free()
    })
    .await;
    let refuse = Code::InvalidArgument;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    refused(wallet.ask_htlcs(&sandbox, hash).await, refuse, "required");
    let board = sandbox.board(&wallet, sat(20_000)).await;
    let expiry = sandbox.tip().await + 40;
    let prove = async |vtxo: VtxoId, attestation: LightningReceiveAttestation| {
        let proof = LightningReceiveAntiDos::InputVtxo(protos::InputVtxo {
            vtxo_id: vtxo.to_bytes().to_vec(),
            attestation: attestation.serialize(),
        });
        let request = protos::PrepareLightningReceiveClaimRequest {
            lightning_receive_anti_dos: Some(proof),
            ..wallet.prepare_request(hash, expiry)
        };
        wallet.prepare_with(request).await
    };
    let attest = |hash, key: &Keypair| LightningReceiveAttestation::new(hash, board.id(), key);
    let foreign = prove(board.id(), attest(hash, &new_key())).await;
    refused(foreign, refuse, "attestation invalid");
    let unknown = VtxoId::from_slice(&[1; 36]).unwrap();
    let unknown = prove(unknown, attest(hash, &wallet.key)).await;
    refused(unknown, Code::NotFound, "vtxo not found");
    // An output that is not registered proves as well; a spent one does not.
    let payment = wallet.payment(&board, &[(wallet.key.public_key(), 20_000)]);
    let unregistered = payment.build_unsigned_vtxos().next().unwrap().id();
    wallet.cosign(&payment).await.unwrap();
    let spent = prove(board.id(), attest(hash, &wallet.key)).await;
    refused(spent, refuse, "must be spendable");
    let attestation = LightningReceiveAttestation::new(hash, unregistered, &wallet.key);
    assert_eq!(prove(unregistered, attestation).await.unwrap().len(), 1);
}

/// docs/protocol.md §40.3.
#[tokio::test]
async fn a_token_is_used_up_by_a_request_that_is_refused_later() {
    let (sandbox, wallet) = start(Params {
        ln_receive_tokens: vec!["one".to_owned(), "two".to_owned()],
        ..Params::free()
    })
    .await;
    let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
    let tip = sandbox.tip().await;
    let with = async |token: &str, expiry| {
        let request = protos::PrepareLightningReceiveClaimRequest {
            lightning_receive_anti_dos: Some(LightningReceiveAntiDos::Token(token.to_owned())),
            ..wallet.prepare_request(hash, expiry)
        };
        wallet.prepare_with(request).await
    };
    refused(
        with("three", tip + 10).await,
        Code::NotFound,
        "token not found",
    );
    let late = with("one", tip + 90).await;
    refused(late, Code::InvalidArgument, "too close");
    let burnt = with("one", tip + 10).await;
    refused(burnt, Code::InvalidArgument, "already been used");
    with("two", tip + 10).await.unwrap();
}

#[tokio::test]
async fn a_grant_can_be_wrong_in_every_way() {
    let (sandbox, wallet) = start(Params::free()).await;
    use crate::ark::GrantFault;
    let grant = async |change| {
        let action = Action::AlterGrant { change };
        sandbox
            .server
            .faults()
            .add(fault("lnrecv.grant", action))
            .unwrap();
        let hash = held(&sandbox, &wallet, 5_000).await.compute_payment_hash();
        let htlcs = wallet.ask_htlcs(&sandbox, hash).await.unwrap();
        let htlc = htlcs[0].clone();
        let policy = htlc.policy().as_server_htlc_recv().unwrap().clone();
        (policy.payment_hash == hash, policy, htlc)
    };
    assert!(!grant(GrantFault::WrongHash).await.0);
    let (_, policy, _) = grant(GrantFault::WrongKey).await;
    assert_ne!(policy.user_pubkey, wallet.key.public_key());
    let (_, policy, _) = grant(GrantFault::ShortExpiry).await;
    assert_eq!(policy.htlc_expiry.to_u32(), sandbox.tip().await);
    let (_, _, htlc) = grant(GrantFault::WrongAmount).await;
    assert_eq!(htlc.amount(), sat(4_999));
}
