//! One payment from board to mailbox, with one thing going wrong at every possible place in turn. A client that asks again must
//! always get to the same end.

use ark_lib::mailbox::{BlindedMailboxIdentifier, MailboxAuthorization, MailboxIdentifier};
use server_rpc::StatusExt;
use server_rpc::protos::mailbox_server::{MailboxRequest, PostArkoorMessageRequest};
use server_rpc::tonic::{Code, Response};

use super::*;

const RPCS: [&str; 6] = [
    "RequestBoardCosign",
    "RegisterBoardVtxo",
    "RegisterVtxoTransactions",
    "RequestArkoorCosign",
    "PostArkoorMessage",
    "ReadMailbox",
];

const HOOKS: [&str; 7] = [
    "board.cosign",
    "board.register",
    "register",
    "arkoor.checked",
    "arkoor.persisted",
    "arkoor.response",
    "mailbox.post",
];

/// Asks until there is an answer. Being told that nothing happened would be wrong: the request was right.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) => assert!(!status.is_rejection(), "{status}"),
        }
    }
}

/// Boards 20 000 sat, pays 5 000 of it and reads the receiver's mailbox.
async fn board_and_pay(sandbox: &Sandbox) {
    let alice = sandbox.wallet().await;
    let bob = new_key();
    let (builder, funding_tx) = sandbox.prepare_board(&alice, sat(20_000)).await;
    let request = alice.board_request(&builder, &funding_tx, sat(20_000));
    let response = insist(async || alice.cosign_board(request.clone()).await).await;
    let vtxo = builder.build_vtxo(&response, &alice.key).unwrap();
    sandbox.mine_tx(&funding_tx).await;
    insist(async || alice.register_board(&vtxo).await).await;

    let outputs = [(bob.public_key(), 5_000), (alice.key.public_key(), 15_000)];
    let payment = alice.payment(&vtxo, &outputs);
    let response = insist(async || alice.cosign(&payment).await).await;
    let paid = alice.finish(payment, response).unwrap();
    insist(async || alice.register(&paid).await).await;

    let mailbox = MailboxIdentifier::from_pubkey(bob.public_key());
    let blinded = BlindedMailboxIdentifier::new(mailbox, alice.info.mailbox_pubkey, &bob).unwrap();
    let post = PostArkoorMessageRequest {
        blinded_id: blinded.serialize(),
        vtxos: vec![paid[0].serialize()],
    };
    let mut client = alice.rpc.mailbox_client.clone();
    insist(async || client.post_arkoor_message(post.clone()).await).await;
    let soon = chrono::Local::now() + chrono::Duration::minutes(1);
    let read = MailboxRequest {
        mailbox_id: mailbox.serialize(),
        authorization: Some(MailboxAuthorization::new(&bob, soon).serialize()),
        checkpoint: 0,
    };
    let page = insist(async || client.read_mailbox(read.clone()).await).await;
    assert_eq!(Response::into_inner(page).messages.len(), 1);

    let ledger = sandbox.server.ledger().unwrap();
    assert_eq!((ledger.spendable.count, ledger.spent.count), (2, 1));
    assert_eq!(ledger.spendable.amount, sat(20_000));
    assert_eq!(ledger.unregistered.count, 0);
}

async fn with_fault(target: &str, action: Action) {
    let sandbox = Sandbox::start(Params::free()).await;
    let faults = sandbox.server.faults();
    faults.add(fault(target, action)).unwrap();
    board_and_pay(&sandbox).await;
    assert_eq!(faults.active()[0].fired, 1, "{target}");
}

#[tokio::test]
async fn a_crash_at_any_hook_does_no_harm() {
    for hook in HOOKS {
        with_fault(hook, Action::Crash).await;
    }
}

#[tokio::test]
async fn a_lost_call_does_no_harm() {
    for rpc in RPCS {
        with_fault(rpc, Action::DropBefore).await;
    }
}

#[tokio::test]
async fn a_lost_answer_does_no_harm() {
    for rpc in RPCS {
        with_fault(rpc, Action::DropAfter).await;
    }
}

#[tokio::test]
async fn an_internal_error_does_no_harm() {
    for rpc in RPCS {
        let failure = Action::Status {
            code: Code::Internal.into(),
            message: "sorry".to_owned(),
            identifiers: vec![],
        };
        with_fault(rpc, failure).await;
    }
}
