use ark_lib::rounds::RoundEvent;
use server_rpc::StatusExt;
use server_rpc::admin::RoundAdminServiceClient;
use server_rpc::tonic::Code;

use super::participant::{Events, Joined};
use super::*;
use crate::ark::{RoundConfigChange, RoundOutcome};
use crate::chain::Reorg;

/// Rounds that wait for exactly this many participants.
pub fn waiting_for(participants: usize) -> Params {
    Params {
        round_submit_time: Duration::from_secs(60),
        round_sign_time: Duration::from_secs(60),
        round_participants: Some(participants),
        ..Params::free()
    }
}

#[tokio::test]
async fn two_wallets_refresh_in_one_round() {
    let sandbox = Sandbox::start(waiting_for(2)).await;
    let (alice, bob) = (sandbox.wallet().await, sandbox.wallet().await);
    let old_alice = sandbox.board(&alice, sat(20_000)).await;
    let old_bob = sandbox.board(&bob, sat(5_000)).await;
    let mut events = alice.events().await;

    let tip = sandbox.chain.tip().await.unwrap().height;
    let (outcome, (hash_alice, hash_bob)) = tokio::join!(sandbox.server.trigger_round(), async {
        let attempt = events.attempt().await;
        assert_eq!(attempt.attempt_seq, 0);
        let mut a = alice
            .join(&attempt, &[&old_alice], &[15_000, 5_000])
            .await
            .unwrap();
        let status = alice.status(a.unlock_hash).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status}");
        let again = alice.submit(a.request.clone()).await.unwrap_err();
        assert_eq!(again.code(), Code::Internal, "{again}");
        assert!(again.message().contains("duplicate cosign key"), "{again}");
        let mut b = bob.join(&attempt, &[&old_bob], &[5_000]).await.unwrap();

        let proposal = events.proposal().await;
        assert_eq!(proposal.vtxos_spec.expiry_height.to_u32(), tip + 432);
        let output = &proposal.unsigned_round_tx.output[0];
        assert_eq!(*output, proposal.vtxos_spec.funding_tx_txout());
        alice.sign(&mut a, &proposal).await;
        bob.sign(&mut b, &proposal).await;
        let finished = events.finished().await;
        let txid = proposal.unsigned_round_tx.compute_txid();
        assert_eq!(finished.signed_round_tx.compute_txid(), txid);
        let utxo = OutPoint::new(txid, 0);
        proposal
            .vtxos_spec
            .into_unsigned_tree(utxo)
            .verify_cosign_sigs(&finished.cosign_sigs)
            .unwrap();
        (a.unlock_hash, b.unlock_hash)
    });
    let Ok(RoundOutcome::Finished { txid, outputs, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(outputs, 3);
    assert!(sandbox.chain.mempool().await.unwrap().contains(&txid));
    let ledger = sandbox.server.ledger().unwrap();
    assert_eq!(ledger.unclaimed.amount, sat(25_000));
    assert_eq!(ledger.spent.amount, sat(25_000));
    sandbox.chain.mine(1).await.unwrap();

    let new = alice.claim(hash_alice, &[&old_alice]).await;
    assert_eq!(new[0].amount(), sat(15_000));
    bob.claim(hash_bob, &[&old_bob]).await;
    let ledger = sandbox.server.ledger().unwrap();
    assert_eq!(ledger.spendable.amount, sat(25_000));
    assert_eq!(ledger.unclaimed.count, 0);
    alice.pay(&new[0], &[(bob.key.public_key(), 15_000)]).await;
    let status = bob
        .cosign(&bob.payment(&old_bob, &[(alice.key.public_key(), 5_000)]))
        .await
        .unwrap_err();
    assert!(status.message().contains("already spent"), "{status}");
}

impl Sandbox {
    /// A round in which one wallet gives `input` for an output of the same amount.
    pub async fn refresh(&self, wallet: &Wallet, input: &Vtxo<Full>) -> Joined {
        let mut events = wallet.events().await;
        let (outcome, joined) = tokio::join!(self.server.trigger_round(), async {
            let mut joined = join_next(wallet, &mut events, input).await;
            let proposal = events.proposal().await;
            wallet.sign(&mut joined, &proposal).await;
            joined
        });
        assert!(matches!(outcome, Ok(RoundOutcome::Finished { .. })));
        joined
    }
}

/// Waits for the next attempt and joins it. The last event of an earlier round may come first.
async fn join_next(wallet: &Wallet, events: &mut Events, input: &Vtxo<Full>) -> Joined {
    let attempt = loop {
        if let RoundEvent::Attempt(attempt) = events.next().await {
            break attempt;
        }
    };
    let amount = input.amount().to_sat();
    wallet.join(&attempt, &[input], &[amount]).await.unwrap()
}

#[tokio::test]
async fn a_missing_signature_leads_to_a_second_attempt_without_its_owner() {
    let sandbox = Sandbox::start(Params {
        round_sign_time: Duration::from_millis(100),
        ..waiting_for(2)
    })
    .await;
    let (alice, bob) = (sandbox.wallet().await, sandbox.wallet().await);
    let old_alice = sandbox.board(&alice, sat(20_000)).await;
    let old_bob = sandbox.board(&bob, sat(5_000)).await;
    let mut events = alice.events().await;

    let (outcome, joined) = tokio::join!(sandbox.server.trigger_round(), async {
        let first = events.attempt().await;
        let mut joined = alice.join(&first, &[&old_alice], &[20_000]).await.unwrap();
        let gone = bob.join(&first, &[&old_bob], &[5_000]).await.unwrap();
        let proposal = events.proposal().await;
        let coin = proposal.unsigned_round_tx.input[0].previous_output;
        alice.sign(&mut joined, &proposal).await;

        let second = events.attempt().await;
        assert_eq!(second.round_seq, first.round_seq);
        assert_eq!(second.attempt_seq, 1);
        assert_ne!(second.challenge, first.challenge);
        let status = bob.status(gone.unlock_hash).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        let refused = bob.join(&second, &[&old_bob], &[5_000]).await;
        assert_eq!(refused.err().unwrap().rejected_vtxos(), vec![old_bob.id()]);
        let mut joined = alice.join(&second, &[&old_alice], &[20_000]).await.unwrap();
        let proposal = events.proposal().await;
        let spent = &proposal.unsigned_round_tx.input;
        assert!(spent.iter().any(|input| input.previous_output == coin));
        alice.sign(&mut joined, &proposal).await;
        joined
    });
    let Ok(RoundOutcome::Finished { attempt_seq, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(attempt_seq, 1);
    alice.claim(joined.unlock_hash, &[&old_alice]).await;
    bob.pay(&old_bob, &[(bob.key.public_key(), 5_000)]).await;
    let balance = sandbox.server.coin_balance().await.unwrap();
    assert_eq!(balance.locked, Amount::ZERO);
}

#[tokio::test]
async fn a_round_without_participants_or_signatures_fails_and_unlocks_its_coins() {
    let sandbox = Sandbox::start(Params {
        round_submit_time: Duration::ZERO,
        round_sign_time: Duration::ZERO,
        ..Params::free()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let mut client = wallet.rpc.client.clone();
    let status = client.last_round_event(protos::Empty {}).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let first = sandbox.server.trigger_round().await.unwrap();
    let RoundOutcome::Failed { round_seq, .. } = first else {
        panic!("{first:?}")
    };
    let mut events = wallet.events().await;
    let RoundEvent::Failed(failed) = events.next().await else {
        panic!()
    };
    assert_eq!(failed.round_seq.inner(), round_seq);

    let config = RoundConfigChange {
        submit_ms: Some(60_000),
        expect_participants: Some(1),
        ..RoundConfigChange::default()
    };
    sandbox.server.change_round_config(config).unwrap();
    let old = sandbox.board(&wallet, sat(5_000)).await;
    let (outcome, _unsigned) = tokio::join!(
        sandbox.server.trigger_round(),
        join_next(&wallet, &mut events, &old)
    );
    let Ok(RoundOutcome::Failed {
        round_seq: next, ..
    }) = outcome
    else {
        panic!("{outcome:?}")
    };
    assert!(next > round_seq);
    wallet.pay(&old, &[(wallet.key.public_key(), 5_000)]).await;
    let balance = sandbox.server.coin_balance().await.unwrap();
    assert_eq!(balance.locked, Amount::ZERO);
}

#[tokio::test]
async fn an_invalid_participation_is_refused() {
    let sandbox = Sandbox::start(Params {
        fees: crate::ark::charging_fees(),
        ..waiting_for(2)
    })
    .await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let gone = sandbox.board(&wallet, sat(20_000)).await;
    let amount = gone.amount().to_sat();
    wallet
        .pay(&gone, &[(wallet.key.public_key(), amount)])
        .await;
    let early = protos::SubmitPaymentRequest::default();
    assert!(wallet.submit(early).await.unwrap_err().is_rejection());

    let mut events = wallet.events().await;
    let round = sandbox.server.trigger_round();
    let checks = async {
        let attempt = events.attempt().await;
        // The old VTXO is worth 19 670 sat and lives for more than 199 blocks: 150 sat and 0.4 %.
        let fee = 150 + 79;
        let most = 20_000 - 330 - fee;
        for amounts in [&[most + 1][..], &[329], &[], &[u64::MAX, u64::MAX]] {
            let status = wallet.join(&attempt, &[&old], amounts).await.err().unwrap();
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{amounts:?}: {status}"
            );
        }
        let status = wallet
            .join(&attempt, &[&gone], &[5_000])
            .await
            .err()
            .unwrap();
        assert_eq!(status.rejected_vtxos(), vec![gone.id()]);
        let status = wallet
            .join(&attempt, &[&old, &old], &[5_000])
            .await
            .err()
            .unwrap();
        assert_eq!(status.code(), Code::NotFound);

        let good = wallet.join_request(&attempt, &[&old], &[most]);
        let mut unattested = good.request.clone();
        let request = unattested.vtxo_requests[0].vtxo.as_mut().unwrap();
        request.amount -= 1;
        let status = wallet.submit(unattested).await.unwrap_err();
        assert!(status.is_rejection(), "{status}");
        let mut few_nonces = good.request.clone();
        few_nonces.vtxo_requests[0].public_nonces.pop();
        let status = wallet.submit(few_nonces).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        wallet.submit(good.request).await.unwrap();
        let busy = wallet.join(&attempt, &[&old], &[most]).await.err().unwrap();
        assert!(busy.message().contains("already locked"), "{busy}");
    };
    tokio::select! {
        outcome = round => panic!("{outcome:?}"),
        () = checks => {}
    }
}

#[tokio::test]
async fn a_submission_between_two_rounds_is_answered_and_forgotten() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let mut events = wallet.events().await;
    let round = sandbox.server.trigger_round();
    let attempt = tokio::select! {
        outcome = round => panic!("{outcome:?}"),
        attempt = events.attempt() => attempt,
    };
    sandbox.server.restart().await;
    let wallet = Wallet {
        rpc: sandbox.connect().await,
        ..wallet
    };
    let forgotten = wallet.join(&attempt, &[&old], &[20_000]).await.unwrap();
    let status = wallet.status(forgotten.unlock_hash).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let dear = wallet.join(&attempt, &[&old], &[20_001]).await.err();
    assert_eq!(dear.unwrap().code(), Code::InvalidArgument);

    let mut events = wallet.events().await;
    let (outcome, hash) = tokio::join!(sandbox.server.trigger_round(), async {
        let mut joined = join_next(&wallet, &mut events, &old).await;
        let proposal = events.proposal().await;
        wallet.sign(&mut joined, &proposal).await;
        joined.unlock_hash
    });
    assert!(matches!(outcome, Ok(RoundOutcome::Finished { .. })));
    sandbox.chain.mine(1).await.unwrap();
    wallet.claim(hash, &[&old]).await;
}

#[tokio::test]
async fn a_signature_is_taken_once_and_a_wrong_one_never() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let mut events = wallet.events().await;
    let (outcome, ()) = tokio::join!(sandbox.server.trigger_round(), async {
        let mut joined = join_next(&wallet, &mut events, &old).await;
        let proposal = events.proposal().await;
        let [right] = &Wallet::signatures(&mut joined, &proposal)[..] else {
            panic!()
        };
        let mut wrong = right.clone();
        wrong.signatures[0][31] ^= 1;
        let mut unknown = right.clone();
        unknown.pubkey = new_key().public_key().serialize().to_vec();
        let mut few = right.clone();
        few.signatures.clear();
        for request in [wrong, unknown, few] {
            let status = wallet.provide(request).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        }
        wallet.provide(right.clone()).await.unwrap();
        wallet.provide(right.clone()).await.unwrap();
        events.finished().await;
        wallet.provide(right.clone()).await.unwrap();
    });
    assert!(matches!(outcome, Ok(RoundOutcome::Finished { .. })));
}

#[tokio::test]
async fn rounds_run_on_schedule_while_there_is_a_subscriber() {
    let sandbox = Sandbox::start(Params {
        round_interval: Duration::from_millis(50),
        ..waiting_for(1)
    })
    .await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let mut client = wallet.rpc.client.clone();
    let status = client.last_round_event(protos::Empty {}).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let mut events = wallet.events().await;
    let mut joined = join_next(&wallet, &mut events, &old).await;
    let proposal = events.proposal().await;
    wallet.sign(&mut joined, &proposal).await;
    events.finished().await;
}

#[tokio::test]
async fn a_round_that_a_reorganisation_dropped_is_broadcast_again() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    let joined = sandbox.refresh(&wallet, &old).await;
    let (_, funding) = wallet.issued(joined.unlock_hash).await;
    sandbox.chain.mine(1).await.unwrap();
    let txid = funding.compute_txid();
    sandbox
        .chain
        .reorg(1, Reorg::Drop(vec![txid]))
        .await
        .unwrap();
    while sandbox.chain.tx(txid).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    sandbox.chain.mine(1).await.unwrap();
    wallet.claim(joined.unlock_hash, &[&old]).await;
}

#[tokio::test]
async fn the_administration_service_starts_a_round() {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let mut events = wallet.events().await;
    let address = sandbox.server.admin_address().unwrap();
    let mut rounds = RoundAdminServiceClient::connect(address).await.unwrap();
    rounds.trigger_round(protos::Empty {}).await.unwrap();
    assert_eq!(events.attempt().await.attempt_seq, 0);
}
