use ark_lib::mailbox::{MailboxAuthorization, MailboxIdentifier};
use bitcoin::hashes::Hash;
use server_rpc::StatusExt;
use server_rpc::protos::RoundParticipationStatus;
use server_rpc::protos::mailbox_server::{MailboxRequest, mailbox_message::Message};
use server_rpc::tonic::Code;

use super::round::waiting_for;
use super::*;
use crate::ark::RoundOutcome;

/// Parameters of rounds that do not wait for participants.
fn at_once() -> Params {
    Params {
        round_submit_time: Duration::ZERO,
        ..Params::free()
    }
}

async fn finish_round(sandbox: &Sandbox) {
    let outcome = sandbox.server.trigger_round().await.unwrap();
    assert!(
        matches!(outcome, RoundOutcome::Finished { .. }),
        "{outcome:?}"
    );
    sandbox.chain.mine(1).await.unwrap();
}

#[tokio::test]
async fn the_server_refreshes_while_the_wallet_is_away() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let mailbox_key = new_key();
    let mailbox = MailboxIdentifier::from_pubkey(mailbox_key.public_key());

    // Two equal outputs have to get different leaves.
    let amounts = [5_000, 10_000, 5_000];
    let hash = wallet
        .delegate(&[&old], &amounts, Some(mailbox.serialize()), None)
        .await
        .unwrap();
    let status = wallet.status(hash).await.unwrap();
    assert_eq!(status.status(), RoundParticipationStatus::RoundPartPending);
    assert_eq!(status.input_vtxo_ids, vec![old.id().to_bytes().to_vec()]);
    let early = wallet.nonces(hash, &[&old]).await.unwrap_err();
    assert!(!early.is_rejection(), "{early}");
    sandbox.server.restart().await;
    let wallet = Wallet {
        rpc: sandbox.connect().await,
        ..wallet
    };
    finish_round(&sandbox).await;

    let status = wallet.status(hash).await.unwrap();
    assert_eq!(status.status(), RoundParticipationStatus::RoundPartIssued);
    assert_eq!(status.unlock_preimage, None);
    let soon = chrono::Local::now() + chrono::Duration::minutes(1);
    let request = MailboxRequest {
        mailbox_id: mailbox.serialize(),
        authorization: Some(MailboxAuthorization::new(&mailbox_key, soon).serialize()),
        checkpoint: 0,
    };
    let mut client = wallet.rpc.mailbox_client.clone();
    let page = client.read_mailbox(request).await.unwrap().into_inner();
    let [message] = &page.messages[..] else {
        panic!("{page:?}")
    };
    let Some(Message::RoundParticipationCompleted(completed)) = &message.message else {
        panic!("{message:?}")
    };
    assert_eq!(completed.unlock_hash, hash.to_byte_array());

    let new = wallet.claim(hash, &[&old]).await;
    let got: Vec<u64> = new.iter().map(|vtxo| vtxo.amount().to_sat()).collect();
    assert_eq!(got, amounts);
    assert_ne!(new[0].id(), new[2].id());
    let me = wallet.key.public_key();
    for vtxo in &new {
        wallet.pay(vtxo, &[(me, vtxo.amount().to_sat())]).await;
    }
}

#[tokio::test]
async fn a_single_output_gets_a_tree_as_well() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(1_000)).await;
    let hash = wallet
        .delegate(&[&old], &[1_000], None, None)
        .await
        .unwrap();
    finish_round(&sandbox).await;
    wallet.claim(hash, &[&old]).await;
    let ledger = sandbox.server.ledger().unwrap();
    assert_eq!((ledger.spendable.count, ledger.spent.count), (1, 1));
    assert_eq!(ledger.unclaimed.count, 0);
}

#[tokio::test]
async fn no_round_comes_before_the_scheduled_height() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let tip = sandbox.chain.tip().await.unwrap().height;
    let late = old.expiry_height().to_u32();
    let status = wallet
        .delegate(&[&old], &[20_000], None, Some(late))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let hash = wallet
        .delegate(&[&old], &[20_000], None, Some(tip + 2))
        .await
        .unwrap();

    for _ in 0..2 {
        let outcome = sandbox.server.trigger_round().await.unwrap();
        assert!(matches!(outcome, RoundOutcome::Failed { .. }));
        let status = wallet.status(hash).await.unwrap();
        assert_eq!(status.status(), RoundParticipationStatus::RoundPartPending);
        sandbox.chain.mine(1).await.unwrap();
    }
    finish_round(&sandbox).await;
    wallet.claim(hash, &[&old]).await;
}

#[tokio::test]
async fn the_fee_is_that_of_the_scheduled_height_even_if_it_has_passed() {
    let sandbox = Sandbox::start(Params {
        fees: crate::ark::charging_fees(),
        ..at_once()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_330)).await;
    assert_eq!(old.amount(), sat(20_000));
    // In its last 96 blocks a refresh costs 150 sat, before that also a share of the amount.
    let cheap = old.expiry_height().to_u32() - 96;
    let amounts = [20_000 - 150];
    let early = wallet
        .delegate(&[&old], &amounts, None, Some(cheap - 1))
        .await;
    assert_eq!(early.unwrap_err().code(), Code::InvalidArgument);
    let now = wallet.delegate(&[&old], &amounts, None, None).await;
    assert_eq!(now.unwrap_err().code(), Code::InvalidArgument);
    wallet
        .delegate(&[&old], &amounts, None, Some(cheap))
        .await
        .unwrap();

    let height = sandbox.chain.tip().await.unwrap().height;
    sandbox.chain.mine(cheap - height).await.unwrap();
    let passed = wallet
        .delegate(&[&old], &amounts, None, Some(cheap - 1))
        .await;
    assert_eq!(passed.unwrap_err().code(), Code::InvalidArgument);
    wallet
        .delegate(&[&old], &amounts, None, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_output_above_the_largest_vtxo_is_refused() {
    let sandbox = Sandbox::start(Params {
        max_vtxo_amount: Some(sat(10_000)),
        ..at_once()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let first = sandbox.board(&wallet, sat(8_000)).await;
    let second = sandbox.board(&wallet, sat(8_000)).await;
    let inputs = [&first, &second];
    let merged = wallet.delegate(&inputs, &[16_000], None, None).await;
    assert_eq!(merged.unwrap_err().code(), Code::InvalidArgument);
    wallet
        .delegate(&inputs, &[10_000, 6_000], None, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_newer_participation_replaces_those_with_the_same_inputs() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let one = sandbox.board(&wallet, sat(20_000)).await;
    let two = sandbox.board(&wallet, sat(5_000)).await;
    let both = wallet
        .delegate(&[&one, &two], &[25_000], None, None)
        .await
        .unwrap();
    let newer = wallet
        .delegate(&[&two], &[4_000, 1_000], None, None)
        .await
        .unwrap();
    let status = wallet.status(both).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    finish_round(&sandbox).await;
    wallet.claim(newer, &[&two]).await;
    wallet.pay(&one, &[(wallet.key.public_key(), 20_000)]).await;
}

#[tokio::test]
async fn a_participation_whose_inputs_are_gone_is_dropped() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let hash = wallet
        .delegate(&[&old], &[20_000], None, None)
        .await
        .unwrap();
    wallet.pay(&old, &[(wallet.key.public_key(), 20_000)]).await;
    let outcome = sandbox.server.trigger_round().await.unwrap();
    assert!(matches!(outcome, RoundOutcome::Failed { .. }));
    let status = wallet.status(hash).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = wallet.delegate(&[&old], &[20_000], None, None).await;
    assert_eq!(status.unwrap_err().rejected_vtxos(), vec![old.id()]);
}

#[tokio::test]
async fn a_participation_whose_input_is_in_use_when_its_round_begins_is_dropped() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let hash = wallet
        .delegate(&[&old], &[20_000], None, None)
        .await
        .unwrap();
    // The same input joins the round, too.
    let joined = sandbox.refresh(&wallet, &old).await;
    let status = wallet.status(hash).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    sandbox.chain.mine(1).await.unwrap();
    wallet.claim(joined.unlock_hash, &[&old]).await;
}

#[tokio::test]
async fn a_round_is_reported_before_its_transaction_is_signed() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let hash = wallet
        .delegate(&[&old], &[20_000], None, None)
        .await
        .unwrap();
    let unsigned = fault("round.sign", Action::Withhold);
    sandbox.server.faults().add(unsigned).unwrap();
    let outcome = sandbox.server.trigger_round().await.unwrap();
    assert!(matches!(outcome, RoundOutcome::Finished { .. }));
    let (_, funding) = wallet.issued(hash).await;
    assert!(funding.input.iter().all(|input| input.witness.is_empty()));
    let known = sandbox.chain.tx(funding.compute_txid()).await.unwrap();
    assert!(known.is_none());

    // The next block makes the server sign and broadcast what it has left.
    sandbox.chain.mine(1).await.unwrap();
    while sandbox.chain.mempool().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let (_, signed) = wallet.issued(hash).await;
    assert_eq!(signed.compute_txid(), funding.compute_txid());
    assert!(signed.input.iter().all(|input| !input.witness.is_empty()));
    sandbox.chain.mine(1).await.unwrap();
    wallet.claim(hash, &[&old]).await;
}

#[tokio::test]
async fn a_fault_carries_out_a_participation_whose_input_is_spent() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let hash = wallet
        .delegate(&[&old], &[20_000], None, None)
        .await
        .unwrap();
    wallet.pay(&old, &[(new_key().public_key(), 20_000)]).await;
    let kept = fault("round.drop", Action::Withhold);
    sandbox.server.faults().add(kept).unwrap();
    finish_round(&sandbox).await;
    let (outputs, _) = wallet.issued(hash).await;
    assert_eq!(outputs[0].amount(), sat(20_000));
}

#[tokio::test]
async fn a_delegated_and_an_interactive_wallet_share_a_round() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let (alice, bob) = (sandbox.wallet().await, sandbox.wallet().await);
    let old_alice = sandbox.board(&alice, sat(20_000)).await;
    let old_bob = sandbox.board(&bob, sat(5_000)).await;
    let hash = bob
        .delegate(&[&old_bob], &[2_000, 3_000], None, None)
        .await
        .unwrap();
    let joined = sandbox.refresh(&alice, &old_alice).await;
    sandbox.chain.mine(1).await.unwrap();
    let new_alice = alice.claim(joined.unlock_hash, &[&old_alice]).await;
    let new_bob = bob.claim(hash, &[&old_bob]).await;
    assert_eq!(new_alice[0].chain_anchor(), new_bob[0].chain_anchor());
    assert_eq!(new_bob.len(), 2);
}

#[tokio::test]
async fn a_participation_needs_the_consent_of_the_owner() {
    let sandbox = Sandbox::start(at_once()).await;
    let wallet = sandbox.wallet().await;
    let thief = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let status = thief
        .delegate(&[&old], &[20_000], None, None)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut request = wallet.delegation(&[&old], &[20_000], None, None);
    request.vtxo_requests[0].amount -= 1;
    let status = wallet.submit_delegated(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut request = wallet.delegation(&[&old], &[20_000], None, None);
    request.unblinded_mailbox_id = Some(vec![4; 33]);
    let status = wallet.submit_delegated(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
