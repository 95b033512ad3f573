//! A server that lies in a round. Nothing may be given up for what is not ours to have.

use std::time::Duration;

use bitcoin::Amount;

use crate::wallet::testing::{World, ids, no_rounds, params, phase};
use crate::wallet::{RoundPhase, VtxoState};
use arkwalletd_sandbox::ark::{Action, TreeFault};

/// H10, H11, H13 and the proposal row of docs/protocol.md §4.16: no such tree is signed, and the next honest round is joined.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_was_tampered_with_is_not_signed() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let mut vtxo = world.fund(&run.wallet, 50_000).await;
    for fault in [
        TreeFault::MissingOutput,
        TreeFault::WrongAmount,
        TreeFault::WrongPolicy,
        TreeFault::WrongUnlockHash,
        TreeFault::ShortExpiry,
        TreeFault::ExitDelta,
        TreeFault::ServerKey,
        TreeFault::Underfunded,
        TreeFault::MissingNonce,
    ] {
        let signed = world.sandbox.ark.faults().calls_of("ProvideVtxoSignatures");
        world.fault("round.proposal", 1, Action::AlterTree { change: fault });
        run.wallet.refresh_vtxos(vec![vtxo]).await.unwrap();
        assert!(!world.round().await, "{fault:?}");
        phase(&run.wallet, RoundPhase::Waiting).await;
        assert_eq!(
            world.sandbox.ark.faults().calls_of("ProvideVtxoSignatures"),
            signed,
            "{fault:?}"
        );
        let state = run.wallet.vtxo(vtxo).await.unwrap().state.clone();
        assert_eq!(state, VtxoState::Spendable, "{fault:?}");

        assert!(world.round().await, "{fault:?}");
        no_rounds(&run.wallet).await;
        let held = ids(&run.wallet);
        assert!(held.len() == 1 && held[0] != vtxo, "{fault:?}");
        vtxo = held[0];
    }
    run.stop().await;
}

/// H13: the same leaf twice in the tree brings one VTXO, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_is_there_twice_is_taken_once() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    world.fault(
        "round.proposal",
        1,
        Action::AlterTree {
            change: TreeFault::DuplicateOutput,
        },
    );
    run.wallet.refresh_vtxos(vec![old]).await.unwrap();
    world.round().await;
    world.round().await;
    no_rounds(&run.wallet).await;
    assert_eq!(run.wallet.balance().spendable, Amount::from_sat(50_000));
    assert_eq!(ids(&run.wallet).len(), 1);
    run.stop().await;
}

/// The finished row of §4.16: another transaction, or broken signatures, in the event bring nobody anywhere, because what
/// counts is what the server can show of the participation.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_the_end_of_a_round_changes_nothing() {
    let world = World::new(params()).await;
    let run = world.create().await;
    for lie in [Action::OtherTxid, Action::WrongSignature] {
        let old = world.fund(&run.wallet, 50_000).await;
        world.fault("round.finished", 1, lie);
        run.wallet.refresh_vtxos(vec![old]).await.unwrap();
        assert!(world.round().await);
        no_rounds(&run.wallet).await;
        assert!(!ids(&run.wallet).contains(&old));
    }
    assert_eq!(run.wallet.balance().spendable, Amount::from_sat(100_000));
    run.stop().await;
}

/// The leaf cosign row of §4.16: without a valid signature no forfeit leaves.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_up_for_a_leaf_that_is_not_signed() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    world.fault("round.leaf", 2, Action::WrongSignature);
    run.wallet.refresh_vtxos(vec![old]).await.unwrap();
    assert!(world.round().await);
    let stuck = async {
        while world.sandbox.ark.faults().calls_of("RequestLeafVtxoCosign") < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stuck)
        .await
        .unwrap();
    assert_eq!(world.sandbox.ark.faults().calls_of("ForfeitVtxos"), 0);
    no_rounds(&run.wallet).await;
    assert_eq!(run.wallet.balance().spendable, Amount::from_sat(50_000));
    run.stop().await;
}

/// W10, W11: from the forfeit on, the inputs stay locked and the operation stands there for everybody to see, also after a
/// restart, until the preimage comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_preimage_that_is_withheld_leaves_the_round_open_and_the_inputs_locked() {
    for lie in [Action::Withhold, Action::WrongPreimage] {
        let world = World::new(params()).await;
        let run = world.create().await;
        let old = world.fund(&run.wallet, 50_000).await;
        world.fault("round.forfeit.persisted", 1_000, lie);
        run.wallet.refresh_vtxos(vec![old]).await.unwrap();
        assert!(world.round().await);
        let complaint = async {
            loop {
                let open = phase(&run.wallet, RoundPhase::Confirmed).await;
                if open.problem.is_some() {
                    return open;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let open = tokio::time::timeout(Duration::from_secs(30), complaint)
            .await
            .unwrap();
        assert!(open.problem.unwrap().contains("preimage"));
        let record = run.wallet.vtxo(old).await.unwrap();
        assert!(matches!(record.state, VtxoState::Locked(Some(_))));
        assert_eq!(
            run.wallet.balance().pending_in_round,
            Amount::from_sat(50_000)
        );
        run.stop().await;

        // Past the deadline it says what to do.
        world.mine(425).await;
        let run = world.open().await;
        let advice = async {
            loop {
                let open = phase(&run.wallet, RoundPhase::Confirmed).await;
                if open
                    .problem
                    .is_some_and(|problem| problem.contains("exit now"))
                {
                    return;
                }
                run.wallet.sync().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), advice)
            .await
            .unwrap();
        assert_eq!(
            run.wallet.balance().pending_in_round,
            Amount::from_sat(50_000)
        );

        world.sandbox.ark.faults().clear();
        run.wallet.sync().await;
        no_rounds(&run.wallet).await;
        assert!(!ids(&run.wallet).contains(&old));
        run.stop().await;
    }
}
