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
    assert_eq!(status.rejected_vtxos(), vec![input.id()]);
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
    let mut direct = good.clone();
    direct.parts[0].use_checkpoint = false;
    let mut unattested = good.clone();
    unattested.parts[0].outputs[0].total_amount = 19_999;
    let mut few_nonces = good.clone();
    few_nonces.parts[0].user_pub_nonces.pop();
    let fan = wallet.payment(&input, &[(me, 4_000); 5]);
    for (name, request) in [
        ("empty", protos::ArkoorPackageCosignRequest::default()),
        ("twice", twice),
        ("without checkpoint", direct),
        ("not attested", unattested),
        ("too few nonces", few_nonces),
        ("too many outputs", fan.cosign_request().into()),
    ] {
        let status = client.request_arkoor_cosign(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
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
