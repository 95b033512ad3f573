//! Offboards end to end, against the sandbox's server, which can also lie.

use std::sync::Arc;
use std::time::Duration;

use bitcoin::{Address, Amount};

use crate::wallet::testing::{World, charging, ids, movements, params, until};
use crate::wallet::{MovementStatus, VtxoState, Wallet};
use arkwalletd_sandbox::ark::{Action, OffboardFault};

/// Waits until no VTXO is held by an offboard.
async fn settled(wallet: &Arc<Wallet>) {
    until(wallet, "offboard", |wallet| {
        wallet.balance().pending_offboard == Amount::ZERO
    })
    .await;
}

/// What an address has received, confirmed or not.
async fn received(world: &World, address: &Address) -> Amount {
    let coins = world.sandbox.chain.unspent(&address.script_pubkey()).await;
    coins.unwrap().iter().map(|coin| coin.output.value).sum()
}

async fn address(wallet: &Wallet) -> Address {
    wallet.next_onchain_address().await.unwrap()
}

/// H31: several inputs hang from one connector output. The estimate is what is charged.
#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_chain_for_the_estimated_fee() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    world.fund(wallet, 50_000).await;
    world.fund(wallet, 40_000).await;
    let to = address(wallet).await;
    let gross = wallet.balance().spendable;
    let estimate = wallet.offboard_all_fee(&to.to_string()).await.unwrap();
    assert_eq!(estimate.gross, gross);
    assert_eq!(estimate.vtxos.len(), 2);

    let done = wallet.offboard_all(Some(&to.to_string())).await.unwrap();
    settled(wallet).await;
    assert_eq!(received(&world, &to).await, estimate.net);
    assert!(ids(wallet).is_empty());
    let history = movements(wallet, "offboard").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].id, done.movement);
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert_eq!(history[0].offchain_fee, estimate.fee);
    assert_eq!(history[0].effective_balance, -gross.to_signed().unwrap());
    assert_eq!(
        history[0].metadata["offboard_txid"],
        done.txid.unwrap().to_string()
    );
    run.stop().await;
}

/// The exact amount arrives, the fee comes on top, the rest comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_exact_amount_is_paid_for_the_estimated_fee() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    world.fund(wallet, 30_000).await;
    world.fund(wallet, 40_000).await;
    let to = address(wallet).await;
    let before = wallet.balance().spendable;
    let amount = Amount::from_sat(45_000);
    let estimate = wallet
        .send_onchain_fee(&to.to_string(), amount)
        .await
        .unwrap();
    assert_eq!(estimate.vtxos.len(), 2);
    assert_eq!(estimate.gross, amount + estimate.fee);

    wallet.send_onchain(&to.to_string(), amount).await.unwrap();
    settled(wallet).await;
    assert_eq!(received(&world, &to).await, amount);
    assert_eq!(wallet.balance().spendable, before - estimate.gross);
    let history = movements(wallet, "send_onchain").await;
    assert_eq!(history[0].status, MovementStatus::Successful);
    assert_eq!(history[0].offchain_fee, estimate.fee);
    assert_eq!(
        history[0].effective_balance,
        -estimate.gross.to_signed().unwrap()
    );
    assert_eq!(history[0].output_vtxos.len(), ids(wallet).len());

    let too_much = wallet.send_onchain(&to.to_string(), before).await;
    assert_eq!(too_much.unwrap_err().code(), "insufficient_funds");
    let estimate = wallet
        .send_onchain_fee(&to.to_string(), before)
        .await
        .unwrap();
    assert!(estimate.vtxos.is_empty() && estimate.fee > Amount::ZERO);
    let dust = wallet
        .send_onchain(&to.to_string(), Amount::from_sat(100))
        .await;
    assert_eq!(dust.unwrap_err().code(), "amount_too_small");
    run.stop().await;
}

/// H30 and the prepare row of docs/protocol.md §4.16: nothing is signed for another transaction than what was ordered.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_not_ordered_is_not_signed() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    for change in [
        OffboardFault::WrongAmount,
        OffboardFault::WrongScript,
        OffboardFault::MissingConnector,
        OffboardFault::MissingNonce,
    ] {
        // One for each, because the server keeps the inputs of a session for a while.
        let vtxo = world.fund(wallet, 50_000).await;
        world.fault("offboard.prepared", 1, Action::AlterOffboard { change });
        let refused = wallet.offboard_vtxos(vec![vtxo], None).await.unwrap_err();
        assert_eq!(refused.code(), "server_refused", "{change:?}");
        let state = wallet.vtxo(vtxo).await.unwrap().state.clone();
        assert_eq!(state, VtxoState::Spendable, "{change:?}");
        assert_eq!(world.sandbox.ark.faults().calls_of("FinishOffboard"), 0);
    }
    let history = movements(wallet, "offboard").await;
    assert_eq!(history.len(), 4);
    assert!(history.iter().all(|movement| {
        movement.status == MovementStatus::Failed && movement.effective_balance.to_sat() == 0
    }));
    run.stop().await;
}

/// H28: the answer to the forfeits is lost; the transaction is found on the chain or given again, and paid for once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_made_up_for() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    for target in ["PrepareOffboard", "FinishOffboard"] {
        let vtxo = world.fund(wallet, 50_000).await;
        let to = address(wallet).await;
        world.fault(target, 1, Action::DropAfter);
        let done = wallet
            .offboard_vtxos(vec![vtxo], Some(&to.to_string()))
            .await
            .unwrap();
        settled(wallet).await;
        assert!(
            received(&world, &to).await > Amount::from_sat(40_000),
            "{target}"
        );
        assert_eq!(movements(wallet, "offboard").await[0].id, done.movement);
    }
    run.stop().await;
}

/// H3, H28: the server has forgotten the session that our forfeits went to. They are not taken back; a new session pays.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_lost_is_asked_for_again() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = run.wallet.clone();
    let vtxo = world.fund(&wallet, 50_000).await;
    let to = address(&wallet).await;
    world.fault("offboard.prepared", 1, Action::Forget);
    let text = to.to_string();
    let paying = tokio::spawn({
        let wallet = wallet.clone();
        async move { wallet.offboard_vtxos(vec![vtxo], Some(&text)).await }
    });
    let lost = async {
        while world.sandbox.ark.faults().calls_of("FinishOffboard") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), lost)
        .await
        .unwrap();
    let state = wallet.vtxo(vtxo).await.unwrap().state.clone();
    assert!(matches!(state, VtxoState::Locked(Some(_))));
    // Instead of waiting half a minute.
    while !paying.is_finished() {
        wallet.sync().await;
    }
    paying.await.unwrap().unwrap();
    settled(&wallet).await;
    assert!(received(&world, &to).await > Amount::from_sat(40_000));
    drop(wallet);
    run.stop().await;
}

/// The finish row of §4.16: what comes back must be the transaction that was agreed on, and the forfeits are out by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_transaction_that_is_another_one_is_asked_for_again() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let vtxo = world.fund(wallet, 50_000).await;
    let to = address(wallet).await;
    world.fault("offboard.persisted", 1, Action::OtherTxid);
    wallet
        .offboard_vtxos(vec![vtxo], Some(&to.to_string()))
        .await
        .unwrap();
    settled(wallet).await;
    assert!(received(&world, &to).await > Amount::from_sat(40_000));
    run.stop().await;
}

/// H29: the server does not bring its transaction out; the wallet does.
#[tokio::test(flavor = "multi_thread")]
async fn the_wallet_broadcasts_by_itself() {
    let world = World::new(params()).await;
    let run = world.create().await;
    let wallet = &run.wallet;
    let vtxo = world.fund(wallet, 50_000).await;
    let to = address(wallet).await;
    world.fault("offboard.persisted", 1, Action::Withhold);
    wallet
        .offboard_vtxos(vec![vtxo], Some(&to.to_string()))
        .await
        .unwrap();
    settled(wallet).await;
    assert!(received(&world, &to).await > Amount::from_sat(40_000));
    run.stop().await;
}

/// The split of an on-chain payment is asked for again with the same transactions, also by another process (H3, H4).
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_goes_on_after_a_restart() {
    let world = World::new(charging()).await;
    let run = world.create().await;
    world.fund(&run.wallet, 100_000).await;
    let to = address(&run.wallet).await;
    let before = run.wallet.balance().spendable;
    world.fault("RequestArkoorCosign", 1, Action::DropAfter);
    world.fault("PrepareOffboard", 1_000, Action::DropBefore);
    let (wallet, text) = (run.wallet.clone(), to.to_string());
    let paying =
        tokio::spawn(async move { wallet.send_onchain(&text, Amount::from_sat(30_000)).await });
    let split = async {
        while world.sandbox.ark.faults().calls_of("PrepareOffboard") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), split)
        .await
        .unwrap();
    paying.abort();
    run.stop().await;
    world.sandbox.ark.faults().clear();

    let run = world.open().await;
    settled(&run.wallet).await;
    assert_eq!(received(&world, &to).await, Amount::from_sat(30_000));
    let history = movements(&run.wallet, "send_onchain").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].status, MovementStatus::Successful);
    let spent = history[0].effective_balance.unsigned_abs();
    assert_eq!(run.wallet.balance().spendable, before - spent);
    run.stop().await;
}
