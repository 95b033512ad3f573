use server_rpc::tonic::Code;
use server_rpc::{StatusExt, protos};

use super::*;
use crate::chain::Reorg;

#[tokio::test]
async fn a_confirmed_board_can_be_registered_and_registered_again() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    wallet.register_board(&vtxo).await.unwrap();
    wallet.register([&vtxo, &vtxo]).await.unwrap();

    let ledger = sandbox.server.ledger().unwrap();
    assert_eq!(ledger.spendable.count, 1);
    assert_eq!(ledger.spendable.amount, sat(20_000));

    let mut client = wallet.rpc.client.clone();
    let request = protos::GetVtxoRequest {
        vtxo_id: vtxo.id().to_bytes().to_vec(),
    };
    let stored = client.get_vtxo(request).await.unwrap().into_inner().vtxo;
    assert_eq!(stored, vtxo.serialize());
}

#[tokio::test]
async fn the_board_fee_comes_off_the_vtxo() {
    let sandbox = Sandbox::start(Params::demo()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(1_000_000)).await;
    assert_eq!(vtxo.amount(), sat(1_000_000 - 1_100));
}

#[tokio::test]
async fn an_unconfirmed_board_gets_not_yet_instead_of_a_refusal() {
    let sandbox = Sandbox::start(Params {
        required_board_confirmations: 2,
        ..Params::free()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let (builder, funding_tx) = sandbox.prepare_board(&wallet, sat(1_000)).await;
    let request = wallet.board_request(&builder, &funding_tx, sat(1_000));
    let response = wallet.cosign_board(request).await.unwrap();
    let vtxo = builder.build_vtxo(&response, &wallet.key).unwrap();

    let unseen = wallet.register_board(&vtxo).await.unwrap_err();
    assert_eq!(unseen.code(), Code::InvalidArgument, "{unseen}");
    sandbox.mine_tx(&funding_tx).await;
    let shallow = wallet.register_board(&vtxo).await.unwrap_err();
    assert_eq!(shallow.code(), Code::InvalidArgument, "{shallow}");
    sandbox.chain.mine(1).await.unwrap();
    wallet.register_board(&vtxo).await.unwrap();
}

#[tokio::test]
async fn a_board_outside_the_limits_is_refused() {
    let sandbox = Sandbox::start(Params {
        min_board_amount: sat(1_000),
        max_vtxo_amount: Some(sat(50_000)),
        ..Params::free()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let (builder, funding_tx) = sandbox.prepare_board(&wallet, sat(20_000)).await;
    let good = wallet.board_request(&builder, &funding_tx, sat(20_000));
    wallet.cosign_board(good.clone()).await.unwrap();

    let foreign = sandbox.payment_to(funding_tx.output[0].clone()).await;
    let mut unknown_input = funding_tx.clone();
    unknown_input.input[0].previous_output.vout = 7;
    unknown_input.input[0].previous_output.txid = funding_tx.compute_txid();
    for (name, request) in [
        (
            "too small",
            protos::BoardCosignRequest {
                amount: 999,
                ..good.clone()
            },
        ),
        (
            "too large",
            protos::BoardCosignRequest {
                amount: 50_001,
                ..good.clone()
            },
        ),
        (
            "expires too late",
            protos::BoardCosignRequest {
                expiry_height: good.expiry_height + 4,
                ..good.clone()
            },
        ),
        (
            "expired",
            protos::BoardCosignRequest {
                expiry_height: 100,
                ..good.clone()
            },
        ),
        (
            "no such output",
            protos::BoardCosignRequest {
                utxo: OutPoint::new(funding_tx.compute_txid(), 2).serialize(),
                ..good.clone()
            },
        ),
        (
            "inputs from nowhere",
            protos::BoardCosignRequest {
                utxo: OutPoint::new(unknown_input.compute_txid(), 0).serialize(),
                funding_tx: serialize(&unknown_input),
                ..good.clone()
            },
        ),
        (
            "another transaction",
            protos::BoardCosignRequest {
                utxo: OutPoint::new(
                    Transaction {
                        version: Version(3),
                        ..foreign
                    }
                    .compute_txid(),
                    0,
                )
                .serialize(),
                ..good.clone()
            },
        ),
        (
            "no nonce",
            protos::BoardCosignRequest {
                pub_nonce: vec![],
                ..good.clone()
            },
        ),
    ] {
        let status = wallet.cosign_board(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
    }
}

#[tokio::test]
async fn a_board_cannot_be_funded_from_inside_the_ark() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let (builder, mut funding_tx) = sandbox.prepare_board(&wallet, sat(1_000)).await;
    funding_tx.input[0].previous_output = vtxo.point();
    let request = wallet.board_request(&builder, &funding_tx, sat(1_000));
    let status = wallet.cosign_board(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn a_board_whose_funding_is_gone_cannot_be_spent() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let gone = Reorg::Drop(vec![vtxo.chain_anchor().txid]);
    sandbox.chain.reorg(1, gone).await.unwrap();
    let payment = wallet.payment(&vtxo, &[(new_key().public_key(), 20_000)]);
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert_eq!(status.rejected_vtxos(), vec![vtxo.id()]);
}

#[tokio::test]
async fn a_node_that_lags_knows_no_unconfirmed_parents() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let (_, parent) = sandbox.prepare_board(&wallet, sat(5_000)).await;
    sandbox.chain.submit(parent.clone()).await.unwrap().unwrap();
    let (builder, mut funding_tx) = sandbox.prepare_board(&wallet, sat(1_000)).await;
    funding_tx.input[0].previous_output = OutPoint::new(parent.compute_txid(), 1);
    let request = wallet.board_request(&builder, &funding_tx, sat(1_000));
    let lag = Fault {
        times: None,
        ..fault("board.funding", Action::NodeLags)
    };
    sandbox.server.faults().add(lag).unwrap();
    let status = wallet.cosign_board(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("unknown input tx"), "{status}");
    sandbox.chain.mine(1).await.unwrap();
    wallet.cosign_board(request).await.unwrap();
}
