//! Rounds in which the wallet signs, and what may go wrong on either side.

use ark_lib::VtxoId;
use bitcoin::Amount;

use crate::wallet::testing::{World, charging, ids, movements, no_rounds, params, phase};
use crate::wallet::{MovementStatus, RoundPhase, VtxoState};
use arkwalletd_sandbox::ark::Action;

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_swaps_a_vtxo_for_a_new_one() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let old = world.fund(wallet, 100_000).await;
    let before = wallet.balance().spendable;

    let pending = wallet.refresh_vtxos(vec![old]).await.unwrap();
    assert_eq!(pending.inputs, [old]);
    assert_eq!(pending.phase, RoundPhase::Waiting);
    assert!(world.round().await);
    no_rounds(wallet).await;

    let new = ids(wallet);
    assert_eq!(new.len(), 1);
    assert_ne!(new[0], old);
    let history = movements(wallet, "refresh").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert_eq!(history[0].input_vtxos, [old]);
    assert_eq!(history[0].output_vtxos, new);
    assert!(history[0].metadata.contains_key("funding_txid"));
    let fee = history[0].offchain_fee;
    assert!(fee > Amount::ZERO);
    assert_eq!(wallet.balance().spendable, before - fee);

    // The new one can be spent.
    let to = wallet.next_address().await.unwrap();
    let sent = wallet
        .send(crate::wallet::SendRequest {
            destination: to.to_string(),
            amount: Some(Amount::from_sat(1_000)),
            comment: None,
            retry_for_secs: None,
        })
        .await
        .unwrap();
    assert!(sent.finished);
    run.stop().await;
}

/// W13: the wallet never hears that the round is finished, and asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_missed_end_of_a_round_is_made_up_for() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    world.fault("round.finished", 1, Action::Withhold);
    run.wallet.refresh_vtxos(vec![old]).await.unwrap();
    assert!(world.round().await);
    // A new block, or at worst the next round, makes it ask.
    world.mine(1).await;
    no_rounds(&run.wallet).await;
    assert!(!ids(&run.wallet).contains(&old));
    run.stop().await;
}

/// W13: the process dies after it has signed, and the round ends meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_ends_while_the_wallet_is_down_is_taken_up() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    // Nothing of the end of the round gets through to the first process.
    world.fault("round.finished", 1, Action::Withhold);
    world.fault("RoundParticipationStatus", 1_000, Action::DropBefore);
    run.wallet.refresh_vtxos(vec![old]).await.unwrap();
    assert!(world.round().await);
    phase(&run.wallet, RoundPhase::Ongoing).await;
    run.stop().await;
    world.sandbox.ark.faults().clear();

    let run = world.open().await;
    no_rounds(&run.wallet).await;
    assert!(!ids(&run.wallet).contains(&old));
    let history = movements(&run.wallet, "refresh").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].status, MovementStatus::Successful);
    run.stop().await;
}

/// H1: a restart loses the nonces, so the attempt is given up, and no other nonces are made for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_within_an_attempt_gives_it_up_and_joins_the_next_round() {
    let mut params = params();
    params.round_participants = Some(2);
    params.round_submit_time = std::time::Duration::from_secs(2);
    let world = World::new(params).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    run.wallet.refresh_vtxos(vec![old]).await.unwrap();
    let server = &world.sandbox.ark;
    let (first, run) = tokio::join!(server.trigger_round(), async {
        let ongoing = phase(&run.wallet, RoundPhase::Ongoing).await;
        assert_eq!(ongoing.inputs, [old]);
        run.stop().await;
        world.open().await
    });
    tracing::info!(?first);
    let joins = server.faults().calls_of("SubmitPayment");
    phase(&run.wallet, RoundPhase::Waiting).await;
    assert_eq!(
        run.wallet.vtxo(old).await.unwrap().state,
        VtxoState::Spendable
    );
    assert_eq!(server.faults().calls_of("SubmitPayment"), joins);
    assert_eq!(server.faults().calls_of("ProvideVtxoSignatures"), 0);

    assert!(world.round().await);
    no_rounds(&run.wallet).await;
    assert!(!ids(&run.wallet).contains(&old));
    run.stop().await;
}

/// An answer to the request to join is lost; the same request again is recognised.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_with_the_same_nonces() {
    let mut params = params();
    params.round_sign_time = std::time::Duration::from_secs(10);
    let world = World::new(params).await;
    let run = world.create().await;
    let old = world.fund(&run.wallet, 50_000).await;
    world.fault("SubmitPayment", 1, Action::DropAfter);
    world.fault("ProvideVtxoSignatures", 1, Action::DropAfter);
    world.fault("RequestForfeitNonces", 1, Action::DropAfter);
    world.fault("ForfeitVtxos", 1, Action::DropAfter);
    run.wallet.refresh_vtxos(vec![old]).await.unwrap();
    tracing::info!(finished = world.round().await);
    world.round().await;
    no_rounds(&run.wallet).await;
    assert!(!ids(&run.wallet).contains(&old));
    assert_eq!(movements(&run.wallet, "refresh").await.len(), 1);
    run.stop().await;
}

/// docs/protocol.md §27: an explicit refresh with one refused input refreshes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_input_stops_an_explicit_refresh() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let (good, bad) = (
        world.fund(&run.wallet, 50_000).await,
        world.fund(&run.wallet, 40_000).await,
    );
    refuse(&world, bad);
    run.wallet.refresh_vtxos(vec![good, bad]).await.unwrap();
    world.round().await;
    no_rounds(&run.wallet).await;
    let mut left = ids(&run.wallet);
    left.sort_unstable();
    let mut all = vec![good, bad];
    all.sort_unstable();
    assert_eq!(left, all);
    assert_eq!(run.wallet.balance().spendable, Amount::from_sat(90_000));
    let history = movements(&run.wallet, "refresh").await;
    assert_eq!(history[0].status, MovementStatus::Failed);
    assert_eq!(history[0].effective_balance.to_sat(), 0);
    run.stop().await;
}

pub(super) fn refuse(world: &World, vtxo: VtxoId) {
    let refusal = Action::Status {
        code: 3,
        message: "input not spendable".to_owned(),
        identifiers: vec![vtxo.to_string()],
    };
    world.fault("SubmitPayment", 1, refusal);
}

/// The inputs are free until the round begins; what is gone by then is left out.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_meanwhile_is_left_out() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let (kept, spent) = (
        world.fund(wallet, 60_000).await,
        world.fund(wallet, 50_000).await,
    );
    let promised = wallet.refresh_vtxos(vec![kept, spent]).await.unwrap();
    assert_eq!(promised.inputs.len(), 2);
    let address = wallet.next_onchain_address().await.unwrap().to_string();
    let offboarded = wallet.offboard_vtxos(vec![spent], Some(&address)).await;
    tracing::info!(?offboarded);
    assert!(world.round().await);
    no_rounds(wallet).await;
    let history = movements(wallet, "refresh").await;
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert_eq!(history[0].input_vtxos, [kept]);
    let new = wallet.vtxo(history[0].output_vtxos[0]).await.unwrap();
    let old = wallet.vtxo(kept).await.unwrap();
    assert_eq!(new.amount + history[0].offchain_fee, old.amount);
    run.stop().await;
}
