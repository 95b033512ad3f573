use server_rpc::StatusExt;
use server_rpc::tonic::Code;

use super::*;

/// A sandbox with one wallet, a coin and a payment of it.
async fn about_to_pay() -> (Sandbox, Wallet, Vtxo<Full>) {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let input = sandbox.board(&wallet, sat(20_000)).await;
    (sandbox, wallet, input)
}

#[tokio::test]
async fn a_crash_after_persisting_leaves_a_payment_that_can_be_finished() {
    let (sandbox, wallet, input) = about_to_pay().await;
    let crash = fault("arkoor.persisted", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    let payment = wallet.payment(&input, &[(wallet.key.public_key(), 20_000)]);
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!(sandbox.server.ledger().unwrap().spent.amount, sat(20_000));

    let reconnected = Wallet {
        rpc: sandbox.connect().await,
        ..wallet
    };
    let response = reconnected.cosign(&payment).await.unwrap();
    assert!(reconnected.finish(payment, response).is_some());
}

#[tokio::test]
async fn a_lost_answer_hides_work_that_was_done() {
    let (sandbox, wallet, input) = about_to_pay().await;
    let payment = wallet.payment(&input, &[(wallet.key.public_key(), 20_000)]);
    let faults = sandbox.server.faults();

    let id = faults
        .add(fault("RequestArkoorCosign", Action::DropBefore))
        .unwrap();
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(sandbox.server.ledger().unwrap().spent.count, 0);
    assert!(faults.remove(id));

    faults
        .add(fault("RequestArkoorCosign", Action::DropAfter))
        .unwrap();
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(sandbox.server.ledger().unwrap().spent.count, 1);
    wallet.cosign(&payment).await.unwrap();
    assert_eq!(faults.calls_of("RequestArkoorCosign"), 3);
}

#[tokio::test]
async fn signatures_can_be_wrong_or_missing_or_refused() {
    let (sandbox, wallet, input) = about_to_pay().await;
    let faults = sandbox.server.faults();
    let payment = || wallet.payment(&input, &[(wallet.key.public_key(), 20_000)]);

    faults
        .add(fault("arkoor.checked", Action::RefuseInputs))
        .unwrap();
    let status = wallet.cosign(&payment()).await.unwrap_err();
    assert_eq!(status.rejected_vtxos(), vec![input.id()]);
    assert_eq!(sandbox.server.ledger().unwrap().spent.count, 0);

    for action in [Action::WrongSignature, Action::MissingSignature] {
        faults
            .add(fault("arkoor.response", action.clone()))
            .unwrap();
        let payment = payment();
        let response = wallet.cosign(&payment).await.unwrap();
        assert!(wallet.finish(payment, response).is_none(), "{action:?}");
    }
    let payment = payment();
    let response = wallet.cosign(&payment).await.unwrap();
    assert!(wallet.finish(payment, response).is_some());

    faults
        .add(fault("board.cosign", Action::WrongSignature))
        .unwrap();
    let (builder, funding_tx) = sandbox.prepare_board(&wallet, sat(1_000)).await;
    let request = wallet.board_request(&builder, &funding_tx, sat(1_000));
    let response = wallet.cosign_board(request.clone()).await.unwrap();
    assert!(!builder.verify_cosign_response(&response));
    let response = wallet.cosign_board(request).await.unwrap();
    assert!(builder.verify_cosign_response(&response));
}

#[tokio::test]
async fn a_forgotten_upload_has_to_be_repeated() {
    let (sandbox, wallet, input) = about_to_pay().await;
    let faults = sandbox.server.faults();
    faults.add(fault("register", Action::Forget)).unwrap();
    wallet.register([&input]).await.unwrap();
    let payment = wallet.payment(&input, &[(wallet.key.public_key(), 20_000)]);
    let status = wallet.cosign(&payment).await.unwrap_err();
    assert_eq!(status.rejected_vtxos(), vec![input.id()]);
    wallet.register([&input]).await.unwrap();
    wallet.cosign(&payment).await.unwrap();
}

#[tokio::test]
async fn a_rule_can_answer_with_any_status() {
    let (sandbox, wallet, input) = about_to_pay().await;
    let refusal = Action::Status {
        code: Code::InvalidArgument.into(),
        message: "busy".to_owned(),
        identifiers: vec![input.id().to_string()],
    };
    let refusal = fault("RegisterVtxoTransactions", refusal);
    sandbox.server.faults().add(refusal).unwrap();
    let status = wallet.register([&input]).await.unwrap_err();
    assert_eq!(status.message(), "busy");
    assert_eq!(status.rejected_vtxos(), vec![input.id()]);
}
