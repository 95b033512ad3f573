use ark_lib::rounds::RoundEvent;
use ark_lib::tree::signed::UnlockHash;
use server_rpc::protos::RoundParticipationStatus;
use server_rpc::protos::mailbox_server::mailbox_message::Message;
use server_rpc::tonic::Code;
use server_rpc::{StatusExt, TryFromBytes};

use super::mailbox::Mailbox;
use super::participant::Joined;
use super::round::waiting_for;
use super::*;
use crate::ark::{InfoFault, RoundConfigChange, RoundOutcome, TreeFault};

async fn about_to_refresh() -> (Sandbox, Wallet, Vtxo<Full>) {
    let sandbox = Sandbox::start(waiting_for(1)).await;
    let wallet = sandbox.wallet().await;
    let old = sandbox.board(&wallet, sat(20_000)).await;
    (sandbox, wallet, old)
}

#[tokio::test]
async fn every_tree_fault_is_visible_to_a_client() {
    let (sandbox, wallet, old) = about_to_refresh().await;
    let config = RoundConfigChange {
        sign_ms: Some(50),
        ..RoundConfigChange::default()
    };
    sandbox.server.change_round_config(config).unwrap();
    for change in [
        TreeFault::MissingOutput,
        TreeFault::WrongAmount,
        TreeFault::WrongPolicy,
        TreeFault::WrongUnlockHash,
        TreeFault::DuplicateOutput,
        TreeFault::ShortExpiry,
        TreeFault::ExitDelta,
        TreeFault::ServerKey,
        TreeFault::Underfunded,
        TreeFault::MissingNonce,
    ] {
        let fault = fault("round.proposal", Action::AlterTree { change });
        sandbox.server.faults().add(fault).unwrap();
        let mut events = wallet.events().await;
        let (outcome, ()) = tokio::join!(sandbox.server.trigger_round(), async {
            let attempt = loop {
                if let RoundEvent::Attempt(attempt) = events.next().await {
                    break attempt;
                }
            };
            let joined = wallet.join(&attempt, &[&old], &[20_000]).await.unwrap();
            let proposal = events.proposal().await;
            let spec = &proposal.vtxos_spec;
            let leaves = spec
                .vtxos
                .iter()
                .filter(|leaf| leaf.unlock_hash == joined.unlock_hash);
            let fine = joined.is_served_by(&proposal)
                && proposal.unsigned_round_tx.output[0] == spec.funding_tx_txout()
                && proposal.cosign_agg_nonces.len() == spec.nb_internal_nodes()
                && leaves.count() == 1
                && spec.expiry_height.to_u32() > 432
                && spec.exit_delta == wallet.info.vtxo_exit_delta
                && spec.server_pubkey == wallet.info.server_pubkey;
            assert!(!fine, "{change:?}");
        });
        assert!(
            matches!(outcome, Ok(RoundOutcome::Failed { .. })),
            "{change:?}"
        );
    }
    wallet.pay(&old, &[(wallet.key.public_key(), 20_000)]).await;
}

/// Joins and signs; what the server says afterwards is the caller's to look at.
async fn take_part(
    sandbox: &Sandbox,
    wallet: &Wallet,
    old: &Vtxo<Full>,
) -> (Joined, anyhow::Result<RoundOutcome>, participant::Events) {
    let mut events = wallet.events().await;
    let (outcome, joined) = tokio::join!(sandbox.server.trigger_round(), async {
        let attempt = events.attempt().await;
        let mut joined = wallet.join(&attempt, &[old], &[20_000]).await.unwrap();
        let proposal = events.proposal().await;
        // The answer may be lost in a crash.
        for signatures in Wallet::signatures(&mut joined, &proposal) {
            let _ = wallet.provide(signatures).await;
        }
        joined
    });
    (joined, outcome, events)
}

#[tokio::test]
async fn a_crash_after_the_commit_loses_nothing_but_the_event() {
    for hook in ["round.commit", "round.finished"] {
        let (sandbox, wallet, old) = about_to_refresh().await;
        sandbox
            .server
            .faults()
            .add(fault(hook, Action::Crash))
            .unwrap();
        let (joined, outcome, mut events) = take_part(&sandbox, &wallet, &old).await;
        assert!(outcome.is_err(), "{outcome:?}");
        assert!(events.is_cut().await);
        let wallet = Wallet {
            rpc: sandbox.connect().await,
            ..wallet
        };
        let (_, funding) = wallet.issued(joined.unlock_hash).await;
        while sandbox
            .chain
            .tx(funding.compute_txid())
            .await
            .unwrap()
            .is_none()
        {
            tokio::task::yield_now().await;
        }
        wallet.claim(joined.unlock_hash, &[&old]).await;
    }
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_everything_as_it_was() {
    for hook in ["round.attempt", "round.proposal"] {
        let (sandbox, wallet, old) = about_to_refresh().await;
        sandbox
            .server
            .faults()
            .add(fault(hook, Action::Crash))
            .unwrap();
        let mut events = wallet.events().await;
        let (outcome, ()) = tokio::join!(sandbox.server.trigger_round(), async {
            if hook == "round.proposal" {
                let attempt = events.attempt().await;
                // The answer may be lost in the crash.
                let _ = wallet.join(&attempt, &[&old], &[20_000]).await;
            }
            assert!(events.is_cut().await);
        });
        assert!(outcome.is_err(), "{outcome:?}");
        let wallet = Wallet {
            rpc: sandbox.connect().await,
            ..wallet
        };
        wallet.pay(&old, &[(wallet.key.public_key(), 20_000)]).await;
    }
}

#[tokio::test]
async fn the_end_of_a_round_can_be_hidden_or_false() {
    let (sandbox, wallet, old) = about_to_refresh().await;
    let faults = sandbox.server.faults();
    faults
        .add(fault("round.finished", Action::OtherTxid))
        .unwrap();
    let (joined, _, mut events) = take_part(&sandbox, &wallet, &old).await;
    let finished = events.finished().await;
    let (mut outputs, funding) = wallet.issued(joined.unlock_hash).await;
    assert_ne!(
        finished.signed_round_tx.compute_txid(),
        funding.compute_txid()
    );

    faults
        .add(fault("round.leaf", Action::WrongSignature))
        .unwrap();
    assert!(!wallet.cosign_leaf(&mut outputs[0], &funding).await);
    faults.add(fault("round.status", Action::NotFound)).unwrap();
    let status = wallet.status(joined.unlock_hash).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let nonces = wallet.nonces(joined.unlock_hash, &[&old]).await.unwrap();
    let forfeits = wallet.forfeits(joined.unlock_hash, &[&old], &nonces);
    let target = "round.forfeit.persisted";
    faults.add(fault(target, Action::Withhold)).unwrap();
    let status = wallet.forfeit(forfeits.clone()).await.unwrap_err();
    assert!(!status.is_rejection(), "{status}");
    faults.add(fault(target, Action::WrongPreimage)).unwrap();
    let wrong = wallet.forfeit(forfeits.clone()).await.unwrap();
    assert!(!outputs[0].provide_unlock_preimage(wrong));
    let right = wallet.forfeit(forfeits).await.unwrap();
    assert!(outputs[0].provide_unlock_preimage(right));
}

#[tokio::test]
async fn a_crash_after_the_forfeit_still_gives_the_preimage() {
    let (sandbox, wallet, old) = about_to_refresh().await;
    let (joined, _, _) = take_part(&sandbox, &wallet, &old).await;
    let nonces = wallet.nonces(joined.unlock_hash, &[&old]).await.unwrap();
    let forfeits = wallet.forfeits(joined.unlock_hash, &[&old], &nonces);
    let crash = fault("round.forfeit.persisted", Action::Crash);
    sandbox.server.faults().add(crash).unwrap();
    let status = wallet.forfeit(forfeits.clone()).await.unwrap_err();
    assert!(!status.is_rejection(), "{status}");
    let wallet = Wallet {
        rpc: sandbox.connect().await,
        ..wallet
    };
    let status = wallet.status(joined.unlock_hash).await.unwrap();
    assert_eq!(status.status(), RoundParticipationStatus::RoundPartReleased);
    wallet.forfeit(forfeits).await.unwrap();
}

#[tokio::test]
async fn a_withheld_round_is_never_broadcast_by_the_server() {
    let (sandbox, wallet, old) = about_to_refresh().await;
    let faults = sandbox.server.faults();
    faults.add(fault("round.commit", Action::Withhold)).unwrap();
    faults
        .add(fault("round.finished", Action::WrongSignature))
        .unwrap();
    let (joined, _, mut events) = take_part(&sandbox, &wallet, &old).await;
    let finished = events.finished().await;
    let (_, funding) = wallet.issued(joined.unlock_hash).await;
    assert_eq!(finished.signed_round_tx, funding);
    sandbox.chain.mine(1).await.unwrap();
    sandbox.server.restart().await;
    let txid = funding.compute_txid();
    assert!(sandbox.chain.tx(txid).await.unwrap().is_none());
    sandbox.mine_tx(&funding).await;
}

#[tokio::test]
async fn a_round_can_fail_and_its_stream_can_break() {
    let (sandbox, wallet, _) = about_to_refresh().await;
    let faults = sandbox.server.faults();
    let cut = Action::CutStreamAfter { messages: 1 };
    faults.add(fault("SubscribeRounds", cut)).unwrap();
    faults
        .add(fault("round.attempt", Action::FailRound))
        .unwrap();
    let mut events = wallet.events().await;
    let outcome = sandbox.server.trigger_round().await.unwrap();
    assert!(matches!(outcome, RoundOutcome::Failed { .. }));
    assert!(matches!(events.next().await, RoundEvent::Failed(_)));
    assert!(events.is_cut().await);
}

#[tokio::test]
async fn a_forged_participation_is_issued_and_mailed_although_nobody_asked() {
    let (sandbox, wallet, old) = about_to_refresh().await;
    let mailbox = Mailbox(new_key());
    mailbox.read(&wallet, 0).await;
    let forge = Action::ForgeParticipation { fee_sat: 700 };
    let faults = sandbox.server.faults();
    faults.add(fault("round.attempt", forge)).unwrap();
    sandbox
        .server
        .change_round_config(RoundConfigChange {
            submit_ms: Some(0),
            ..RoundConfigChange::default()
        })
        .unwrap();
    let outcome = sandbox.server.trigger_round().await.unwrap();
    assert!(matches!(outcome, RoundOutcome::Finished { .. }));
    let page = mailbox.read(&wallet, 0).await;
    let Some(Message::RoundParticipationCompleted(completed)) = &page.messages[0].message else {
        panic!("{page:?}")
    };
    let hash = UnlockHash::from_bytes(&completed.unlock_hash).unwrap();
    let (outputs, _) = wallet.issued(hash).await;
    assert_eq!(outputs[0].amount(), sat(19_300));
    assert_eq!(outputs[0].user_pubkey(), wallet.key.public_key());
    let status = wallet.status(hash).await.unwrap();
    assert_eq!(status.input_vtxo_ids, [old.id().to_bytes().to_vec()]);
}

#[tokio::test]
async fn a_server_that_signs_alone_issues_without_a_proposal() {
    let (sandbox, wallet, old) = about_to_refresh().await;
    let alone = fault("round.proposal", Action::SignAlone);
    sandbox.server.faults().add(alone).unwrap();
    let mut events = wallet.events().await;
    let (outcome, hash) = tokio::join!(sandbox.server.trigger_round(), async {
        let attempt = events.attempt().await;
        let joined = wallet.join(&attempt, &[&old], &[20_000]).await.unwrap();
        events.finished().await;
        joined.unlock_hash
    });
    assert!(matches!(outcome, Ok(RoundOutcome::Finished { .. })));
    wallet.claim(hash, &[&old]).await;
}

#[tokio::test]
async fn every_info_fault_changes_ark_info() {
    let (sandbox, wallet, _) = about_to_refresh().await;
    let mut client = wallet.rpc.client.clone();
    let mut told = async |field| {
        let fault = fault("info", Action::ReplaceArkInfo { field });
        sandbox.server.faults().add(fault).unwrap();
        let info = client.get_ark_info(protos::Empty {}).await.unwrap();
        info.into_inner()
    };
    assert_eq!(told(InfoFault::ExitDelta).await.vtxo_exit_delta, 0);
    assert_eq!(told(InfoFault::ExitDepth).await.max_vtxo_exit_depth, 1);
    assert_eq!(told(InfoFault::VtxoAmount).await.max_vtxo_amount, Some(331));
    assert_eq!(told(InfoFault::Lifetime).await.vtxo_lifetime, 1);
    let fees = told(InfoFault::RefreshFee).await.fees.unwrap();
    assert_eq!(fees.refresh.unwrap().ppm_expiry_table[0].ppm, 999_000);
    let fees = told(InfoFault::RefreshBaseFee).await.fees.unwrap();
    assert_eq!(fees.refresh.unwrap().base_fee_sat, 1_000);
    assert_eq!(told(InfoFault::NonceCount).await.nb_round_nonces, u32::MAX);
    let key = wallet.info.server_pubkey.serialize();
    assert_ne!(told(InfoFault::ServerKey).await.server_pubkey, key);
    let key = wallet.info.mailbox_pubkey.serialize();
    assert_ne!(told(InfoFault::MailboxKey).await.mailbox_pubkey, key);
    let table = told(InfoFault::FeeTable).await.fees.unwrap();
    let table = table.refresh.unwrap().ppm_expiry_table;
    assert!(table[0].expiry_blocks_threshold > table[1].expiry_blocks_threshold);
}
