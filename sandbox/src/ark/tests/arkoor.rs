use server_rpc::tonic::Code;
use server_rpc::{StatusExt, protos};

use super::*;

#[tokio::test]
async fn the_same_payment_is_signed_again_and_another_one_is_refused() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let (bob, me) = (new_key().public_key(), wallet.key.public_key());

    let first = wallet.payment(&input, &[(bob, 5_000), (me, 15_000)]);
    let again = wallet.payment(&input, &[(bob, 5_000), (me, 15_000)]);
    let other = wallet.payment(&input, &[(bob, 6_000), (me, 14_000)]);

    let response = wallet.cosign(&first).await.unwrap();
    let vtxos = wallet.finish(first, response).unwrap();
    let response = wallet.cosign(&again).await.unwrap();
    let repeated = wallet.finish(again, response).unwrap();
    let ids = |vtxos: &[Vtxo<Full>]| vtxos.iter().map(Vtxo::id).collect::<Vec<_>>();
    assert_eq!(ids(&vtxos), ids(&repeated));

    let status = wallet.cosign(&other).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("already spent"), "{status}");
    assert!(status.rejected_vtxos().is_empty(), "real servers name none");
}

/// Both payments have the same checkpoint, so the input is not spent otherwise, but the checkpoint is.
#[tokio::test]
async fn another_payment_of_the_same_amounts_is_an_internal_error() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let (bob, me) = (new_key().public_key(), wallet.key.public_key());
    let first = wallet.payment(&input, &[(bob, 5_000), (me, 15_000)]);
    wallet.cosign(&first).await.unwrap();

    let other = [(new_key().public_key(), 5_000), (me, 15_000)];
    let status = wallet.cosign(&wallet.payment(&input, &other)).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("is already spent"), "{status}");
    wallet.cosign(&first).await.unwrap();
}

/// H60.
#[tokio::test]
async fn an_input_in_use_is_refused_at_once_and_the_slow_request_is_carried_out() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let me = wallet.key.public_key();
    let slow = wallet.payment(&input, &[(new_key().public_key(), 20_000)]);
    let faults = sandbox.server.faults();
    let hold = faults.add(fault("arkoor.locked", Action::Hold)).unwrap();
    let lost = wallet.cosign(&slow).await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable, "{lost}");

    let other = wallet.payment(&input, &[(me, 20_000)]);
    for payment in [&slow, &other] {
        let busy = wallet.cosign(payment).await.unwrap_err();
        assert_eq!(busy.code(), Code::InvalidArgument, "{busy}");
        let text = "already locked by another process";
        assert!(busy.message().contains(text), "{busy}");
        assert!(busy.rejected_vtxos().is_empty());
    }
    assert_eq!(sandbox.server.ledger().unwrap().spent.count, 0);

    assert!(faults.remove(hold));
    while sandbox.server.ledger().unwrap().spent.count == 0 {
        tokio::task::yield_now().await;
    }
    wallet.cosign(&slow).await.unwrap();
    let spent = wallet.cosign(&other).await.unwrap_err();
    assert!(spent.message().contains("already spent"), "{spent}");
}

#[tokio::test]
async fn an_expired_vtxo_is_still_signed() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    sandbox.chain.mine(450).await.unwrap();
    let tip = sandbox.chain.tip().await.unwrap().height;
    assert!(input.expiry_height().to_u32() < tip);
    wallet
        .pay(&input, &[(new_key().public_key(), 20_000)])
        .await;
}

#[tokio::test]
async fn money_is_conserved_along_a_chain_of_payments() {
    let sandbox = Sandbox::start(Params::free()).await;
    let alice = sandbox.wallet().await;
    let bob = sandbox.wallet().await;
    let input = sandbox.board(&alice, sat(20_000)).await;
    let (to_bob, to_alice) = (bob.key.public_key(), alice.key.public_key());

    let paid = alice
        .pay(&input, &[(to_bob, 5_000), (to_alice, 15_000)])
        .await;
    bob.pay(&paid[0], &[(to_alice, 4_900), (to_bob, 100)]).await;
    let pending = alice.payment(&paid[1], &[(to_bob, 15_000)]);
    alice.cosign(&pending).await.unwrap();

    let ledger = sandbox.server.ledger().unwrap();
    assert_eq!(ledger.spendable.amount, sat(5_000));
    assert_eq!(ledger.unregistered.amount, sat(15_000));
    assert_eq!(ledger.spent.amount, sat(20_000 + 5_000 + 15_000));
    assert_eq!(ledger.exited.amount, sat(0));
}

#[tokio::test]
async fn an_output_has_to_be_registered_before_it_is_spent() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let me = wallet.key.public_key();
    let payment = wallet.payment(&input, &[(me, 20_000)]);
    let response = wallet.cosign(&payment).await.unwrap();
    let unsigned: Vec<_> = payment.build_unsigned_vtxos().collect();
    let vtxos = wallet.finish(payment, response).unwrap();

    let next = wallet.payment(&vtxos[0], &[(me, 20_000)]);
    let status = wallet.cosign(&next).await.unwrap_err();
    assert_eq!(status.rejected_vtxos(), vec![vtxos[0].id()]);
    let status = wallet.register(&unsigned).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    wallet.register(&vtxos).await.unwrap();
    wallet.cosign(&next).await.unwrap();
}

#[tokio::test]
async fn unknown_inputs_are_named_and_malformed_requests_change_nothing() {
    let sandbox = Sandbox::start(Params {
        max_vtxo_exit_depth: 3,
        ..Params::free()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    let me = wallet.key.public_key();
    let payment = wallet.payment(&input, &[(me, 20_000)]);
    let good = protos::ArkoorPackageCosignRequest::from(payment.cosign_request());
    let mut client = wallet.rpc.client.clone();

    let mut unknown = good.clone();
    unknown.parts[0].input_vtxo_id = vec![1; 36];
    let status = client.request_arkoor_cosign(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.rejected_vtxos().len(), 1);

    let mut twice = good.clone();
    twice.parts.push(good.parts[0].clone());
    let status = client.request_arkoor_cosign(twice).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.rejected_vtxos().is_empty());

    let mut internal = good.clone();
    internal.parts[0].input_vtxo_id = input.chain_anchor().serialize();
    let status = client.request_arkoor_cosign(internal).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("is not a user VTXO"), "{status}");

    let mut undecodable = good.clone();
    undecodable.parts[0].attestation = vec![1; 3];
    let mut direct = good.clone();
    direct.parts[0].use_checkpoint = false;
    let mut unattested = good.clone();
    unattested.parts[0].outputs[0].total_amount = 19_999;
    let mut few_nonces = good.clone();
    few_nonces.parts[0].user_pub_nonces.pop();
    let fan = wallet.payment(&input, &[(me, 4_000); 5]);
    let (refused, broken) = (Code::InvalidArgument, Code::Internal);
    for (name, request, code) in [
        (
            "empty",
            protos::ArkoorPackageCosignRequest::default(),
            refused,
        ),
        ("without checkpoint", direct, refused),
        ("too many outputs", fan.cosign_request().into(), refused),
        ("undecodable", undecodable, broken),
        ("not attested", unattested, broken),
        ("too few nonces", few_nonces, broken),
    ] {
        let status = client.request_arkoor_cosign(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{name}: {status}");
    }
    assert_eq!(
        sandbox.server.ledger().unwrap().spendable.amount,
        sat(20_000)
    );

    let deep = wallet.pay(&input, &[(me, 20_000)]).await;
    let status = wallet
        .cosign(&wallet.payment(&deep[0], &[(me, 20_000)]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}
