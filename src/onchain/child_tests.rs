//! Tests of the children that pay for a parent, on a chain.

use arkwalletd_sandbox::testing::Regtest;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

use super::chain_tests::{Databases, fund, open};
use super::child::PreparedChild;
use super::*;
use crate::chain::BroadcastError;
use crate::chain::fixture::on_each_backend;
use crate::store::WriteTx;

on_each_backend!(
    a_package_pays_the_rate_and_the_list_of_transactions_shows_the_child,
    two_children_share_no_coin_and_a_release_frees_it,
    a_replacement_is_accepted_and_spends_the_coins_of_the_replaced_child,
    a_replacement_pays_for_its_relay_although_the_rate_is_the_same,
    a_child_of_many_small_coins_is_accepted,
    a_valuable_anchor_pays_without_a_coin,
    unconfirmed_and_held_coins_pay_for_no_child,
    a_confirmed_child_that_is_recorded_leaves_its_change,
);

const RATE: FeeRate = FeeRate::from_sat_per_kwu(1_250);

/// A signed transaction without a fee, whose anchor is worth `anchor` sat.
async fn parent(regtest: &Regtest, anchor: u64) -> Transaction {
    let (outpoint, spent) = regtest.coin(50_000).await;
    regtest.mine(1).await;
    let transaction = Transaction {
        version: Version(3),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![
            TxOut {
                value: spent.value - Amount::from_sat(anchor),
                script_pubkey: regtest.key().script(),
            },
            TxOut {
                value: Amount::from_sat(anchor),
                script_pubkey: ScriptBuf::new_p2a(),
            },
        ],
    };
    regtest.key().sign(transaction, &[spent]).unwrap()
}

fn at(rate: FeeRate) -> ChildFee {
    ChildFee {
        rate,
        replaces: None,
    }
}

fn replacing(rate: FeeRate, child: &Transaction, fee: Amount) -> ChildFee {
    let replaced = ReplacedChild {
        transaction: child.clone(),
        fee,
    };
    ChildFee {
        rate,
        replaces: Some(replaced),
    }
}

/// Holds the child's coins and returns it with its fee.
async fn hold(
    wallet: &OnchainWallet,
    child: PreparedChild,
    holder: &'static str,
) -> (Transaction, Amount) {
    let answer = (child.transaction().clone(), child.fee());
    let held = wallet.0.store.write(move |tx| child.hold(tx, holder)).await;
    held.unwrap();
    answer
}

async fn submit(
    wallet: &OnchainWallet,
    parent: &Transaction,
    child: &Transaction,
) -> Result<(), BroadcastError> {
    let package = [parent.clone(), child.clone()];
    wallet.0.chain.broadcast_package(&package).await
}

fn coins(child: &Transaction) -> Vec<OutPoint> {
    let inputs = child.input[1..].iter();
    inputs.map(|input| input.previous_output).collect()
}

async fn a_package_pays_the_rate_and_the_list_of_transactions_shows_the_child(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[80_000, 20_000, 500]).await;
    let parent = parent(&regtest, 0).await;
    wallet.sync().await.unwrap();
    let child = wallet.prepare_child(&parent, &at(RATE)).await.unwrap();
    let (child, fee) = hold(&wallet, child, "exit.1").await;
    let size = (parent.vsize() + child.vsize()) as u64;
    assert_eq!(Some(fee), RATE.fee_vb(size));
    assert_eq!(child.weight(), CHILD_WEIGHT);
    assert_eq!(child.output[0].value, Amount::from_sat(20_000) - fee);
    assert_eq!(wallet.balance().confirmed.to_sat(), 100_500);

    submit(&wallet, &parent, &child).await.unwrap();
    wallet.sync().await.unwrap();
    let shown = wallet.transactions().pop().unwrap();
    assert_eq!(shown.transaction.compute_txid(), child.compute_txid());
    assert!(shown.is_cpfp());
    assert_eq!(shown.fee, Some(fee));
    assert_eq!(shown.balance_change, -fee.to_signed().unwrap());
    assert_eq!(wallet.balance().total(), Amount::from_sat(100_500) - fee);
    assert_eq!(wallet.balance().confirmed.to_sat(), 80_500);
}

async fn two_children_share_no_coin_and_a_release_frees_it(regtest: Regtest) {
    let databases = Databases::new();
    let path = databases.path("db.sqlite");
    let wallet = open(&regtest, &path, ScanStart::Tip).await;
    fund(&regtest, &wallet, &[20_000, 30_000]).await;
    let parents = [parent(&regtest, 0).await, parent(&regtest, 0).await];
    let fee = at(RATE);
    let (first, second) = tokio::join!(
        wallet.prepare_child(&parents[0], &fee),
        wallet.prepare_child(&parents[1], &fee)
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(coins(first.transaction()), coins(second.transaction()));
    let third = wallet.prepare_child(&parents[0], &fee).await;
    assert!(matches!(third, Err(Error::InsufficientFunds { .. })));
    drop(first);
    let first = wallet.prepare_child(&parents[0], &fee).await.unwrap();
    let (first, _) = hold(&wallet, first, "exit.1").await;
    drop(second);
    drop(wallet);

    let wallet = open(&regtest, &path, ScanStart::Tip).await;
    let (second, _) = {
        let prepared = wallet.prepare_child(&parents[1], &fee).await.unwrap();
        hold(&wallet, prepared, "exit.2").await
    };
    assert_ne!(coins(&first), coins(&second));
    assert_ne!(
        first.output[0].script_pubkey,
        second.output[0].script_pubkey
    );
    let releasing = wallet.clone();
    let released = wallet
        .0
        .store
        .write(move |tx| releasing.release(tx, "exit.1"));
    released.await.unwrap();
    let third = wallet.prepare_child(&parents[0], &fee).await.unwrap();
    assert_eq!(coins(third.transaction()), coins(&first));
}

async fn a_replacement_is_accepted_and_spends_the_coins_of_the_replaced_child(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[3_000, 50_000]).await;
    let parent = parent(&regtest, 0).await;
    let child = wallet.prepare_child(&parent, &at(RATE)).await.unwrap();
    let (first, fee) = hold(&wallet, child, "exit.1").await;
    submit(&wallet, &parent, &first).await.unwrap();
    wallet.sync().await.unwrap();

    // The coin of the first child is too small for this rate, so another one is added.
    let richer = FeeRate::from_sat_per_kwu(5_000);
    let replacing = replacing(richer, &first, fee);
    let child = wallet.prepare_child(&parent, &replacing).await.unwrap();
    let (second, fee) = hold(&wallet, child, "exit.2").await;
    assert_eq!(coins(&second).len(), 2);
    assert_eq!(coins(&second)[0], coins(&first)[0]);
    assert_eq!(
        second.output[0].script_pubkey,
        first.output[0].script_pubkey
    );
    submit(&wallet, &parent, &second).await.unwrap();
    let listed = regtest.mempool().await;
    assert!(listed.contains(&second.compute_txid()));
    assert!(!listed.contains(&first.compute_txid()));

    // The second holder has both coins.
    let releasing = wallet.clone();
    let released = wallet
        .0
        .store
        .write(move |tx| releasing.release(tx, "exit.1"));
    released.await.unwrap();
    let held = wallet
        .0
        .store
        .read(crate::store::onchain::held)
        .await
        .unwrap();
    assert_eq!(held.len(), 2);

    regtest.mine(1).await;
    wallet.sync().await.unwrap();
    let shown: Vec<_> = wallet
        .transactions()
        .into_iter()
        .filter(OnchainTransaction::is_cpfp)
        .collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].transaction.compute_txid(), second.compute_txid());
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(53_000) - fee);
    assert_eq!(wallet.balance().total(), wallet.balance().confirmed);
}

async fn a_replacement_pays_for_its_relay_although_the_rate_is_the_same(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[50_000]).await;
    let parent = parent(&regtest, 0).await;
    let child = wallet.prepare_child(&parent, &at(RATE)).await.unwrap();
    let (first, fee) = hold(&wallet, child, "exit.1").await;
    submit(&wallet, &parent, &first).await.unwrap();

    // The sync has not found the first child, so its coin is unspent in memory, but held.
    let same = replacing(RATE, &first, fee);
    let second = wallet.prepare_child(&parent, &same).await.unwrap();
    assert_eq!(coins(second.transaction()), coins(&first));
    let size = (parent.vsize() + first.vsize()) as u64;
    assert_eq!(second.fee(), fee + Amount::from_sat(size));
    submit(&wallet, &parent, second.transaction())
        .await
        .unwrap();
}

async fn a_child_of_many_small_coins_is_accepted(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[400; 17]).await;
    let parent = parent(&regtest, 0).await;
    let too_high = at(FeeRate::from_sat_per_kwu(1_350));
    let refused = wallet.prepare_child(&parent, &too_high).await.err();
    assert!(
        matches!(refused, Some(Error::TooManyInputs { .. })),
        "{refused:?}"
    );

    let rate = FeeRate::from_sat_per_kwu(1_300);
    let child = wallet.prepare_child(&parent, &at(rate)).await.unwrap();
    let size = child.transaction().vsize();
    assert_eq!(child.transaction().input.len(), 16);
    assert!(size <= 1_000, "{size} vB");
    submit(&wallet, &parent, child.transaction()).await.unwrap();
}

async fn a_valuable_anchor_pays_without_a_coin(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    let parent = parent(&regtest, 5_000).await;
    let child = wallet.prepare_child(&parent, &at(RATE)).await.unwrap();
    let (child, fee) = hold(&wallet, child, "exit.1").await;
    assert_eq!(child.output[0].value, Amount::from_sat(5_000) - fee);
    submit(&wallet, &parent, &child).await.unwrap();
    regtest.mine(1).await;
    wallet.sync().await.unwrap();
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(5_000) - fee);
}

async fn unconfirmed_and_held_coins_pay_for_no_child(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[30_000]).await;
    let parent = parent(&regtest, 0).await;
    let script = regtest.address().script_pubkey();
    let amount = FundingAmount::Exact(Amount::from_sat(20_000));
    let funding = wallet.prepare_funding(script, amount, RATE).await.unwrap();
    let funded = wallet
        .0
        .store
        .write(move |tx| funding.hold(tx, "board.1"))
        .await;
    funded.unwrap();
    fund(&regtest, &wallet, &[1_000]).await;
    let address = wallet.next_address().await.unwrap();
    regtest.pay(address.script_pubkey(), 70_000).await;
    wallet.sync().await.unwrap();
    let refused = wallet.prepare_child(&parent, &at(RATE)).await.err();
    let Some(Error::InsufficientFunds { needed, available }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(available.to_sat(), 1_000);
    let size = parent.weight().to_vbytes_ceil() + CHILD_WEIGHT.to_vbytes_ceil();
    assert_eq!(Some(needed - Amount::from_sat(330)), RATE.fee_vb(size));

    regtest.mine(1).await;
    wallet.sync().await.unwrap();
    wallet.prepare_child(&parent, &at(RATE)).await.unwrap();
}

async fn a_confirmed_child_that_is_recorded_leaves_its_change(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[20_000]).await;
    let parents = [parent(&regtest, 0).await, parent(&regtest, 0).await];
    let child = wallet.prepare_child(&parents[0], &at(RATE)).await.unwrap();
    let (child, _) = hold(&wallet, child, "exit.1").await;
    submit(&wallet, &parents[0], &child).await.unwrap();
    regtest.mine(1).await;
    let (recording, recorded) = (wallet.clone(), child.clone());
    let write = move |tx: &mut WriteTx<'_>| recording.record(tx, &recorded, Some("exit.1"));
    wallet.0.store.write(write).await.unwrap();

    // Before the sync the coin is spent, and the change is not confirmed.
    let second = wallet.prepare_child(&parents[1], &at(RATE)).await;
    assert!(
        matches!(second, Err(Error::InsufficientFunds { available, .. }) if available == Amount::ZERO)
    );
    wallet.sync().await.unwrap();
    let second = wallet.prepare_child(&parents[1], &at(RATE)).await.unwrap();
    assert_eq!(
        coins(second.transaction()),
        [OutPoint::new(child.compute_txid(), 0)]
    );
}
