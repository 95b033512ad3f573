//! Tests of the on-chain wallet on a chain: deposits, payments, restarts, reorganisations.

use std::path::{Path, PathBuf};

use arkwalletd_sandbox::testing::Regtest;
use bitcoin::bip32::Xpriv;
use bitcoin::{Amount, Psbt, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use tempfile::TempDir;

use super::wallet::now;
use super::*;
use crate::chain::TxStatus;
use crate::chain::fixture::{FEE_RATE, NETWORK, connect, on_each_backend};
use crate::store::Store;

on_each_backend!(
    deposits_equal_balance_plus_payments_plus_fees,
    a_held_funding_survives_a_restart_and_is_broadcast_once_recorded,
    a_restored_wallet_finds_its_transactions_and_its_next_address,
    a_double_spent_payment_is_evicted,
    a_payment_is_evicted_when_its_deposit_is_double_spent_in_a_reorganisation,
    a_reorganisation_moves_confirmations,
    callers_share_a_sync_that_started_after_their_call,
);

/// The folder of a test's databases.
pub(super) struct Databases(TempDir);

impl Databases {
    pub(super) fn new() -> Databases {
        Databases(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The same seed's wallet, in its own database, after its first scan.
pub(super) async fn open(regtest: &Regtest, database: &Path, start: ScanStart) -> OnchainWallet {
    let root = Xpriv::new_master(NETWORK, &[5; 32]).unwrap();
    let store = Store::open(database).unwrap();
    let wallet = OnchainWallet::load(store, connect(regtest).await, &root, NETWORK, start);
    let wallet = wallet.await.unwrap();
    if start != ScanStart::Tip {
        wallet.sync().await.unwrap();
    }
    wallet
}

/// Pays confirmed coins to fresh addresses of the wallet.
pub(super) async fn fund(regtest: &Regtest, wallet: &OnchainWallet, coins: &[u64]) {
    for sats in coins {
        let address = wallet.next_address().await.unwrap();
        regtest.pay(address.script_pubkey(), *sats).await;
    }
    regtest.mine(1).await;
    wallet.sync().await.unwrap();
}

async fn record(wallet: &OnchainWallet, transaction: &Transaction, operation: &'static str) {
    let (recording, transaction) = (wallet.clone(), transaction.clone());
    wallet
        .0
        .store
        .write(move |tx| recording.record(tx, &transaction, Some(operation)))
        .await
        .unwrap();
}

async fn hold(wallet: &OnchainWallet, funding: Funding, operation: &'static str) -> Psbt {
    wallet
        .0
        .store
        .write(move |tx| funding.hold(tx, operation))
        .await
        .unwrap()
}

async fn deposits_equal_balance_plus_payments_plus_fees(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    let address = wallet.next_address().await.unwrap();
    let deposit = regtest.pay(address.script_pubkey(), 1_000_000).await;
    wallet.sync().await.unwrap();
    assert_eq!(wallet.balance().untrusted_pending.to_sat(), 1_000_000);
    assert_eq!(wallet.utxos()[0].confirmation_height, None);

    regtest.mine(1).await;
    wallet.sync().await.unwrap();
    assert_eq!(wallet.balance().confirmed.to_sat(), 1_000_000);
    let height = wallet.0.chain.last_tip().unwrap().height;
    assert!(wallet.utxos()[0].confirmation_height >= Some(height));

    let amount = Amount::from_sat(100_000);
    let faucet = regtest.address();
    let first = wallet.send(faucet.clone(), amount, FEE_RATE).await.unwrap();
    // The second spends the unconfirmed change of the first.
    let both = [(faucet.clone(), amount), (faucet, amount)];
    let second = wallet.prepare_payment(&both, FEE_RATE).await;
    let second = wallet.pay(second).await.unwrap();
    let mut sent = [first, second];
    sent.sort();
    assert_eq!(regtest.mempool().await, sent);
    let before = wallet.balance();
    assert_eq!(before.total(), before.trusted_pending);

    regtest.mine(1).await;
    wallet.sync().await.unwrap();
    assert_eq!(wallet.balance().confirmed, before.total());
    let history = wallet.transactions();
    let ids: Vec<Txid> = history
        .iter()
        .map(|entry| entry.transaction.compute_txid())
        .collect();
    assert_eq!(ids[0], deposit);
    assert_eq!(ids.len(), 3);
    let fees: Amount = history[1..].iter().map(|entry| entry.fee.unwrap()).sum();
    assert_eq!(
        wallet.balance().total() + amount * 3 + fees,
        Amount::from_sat(1_000_000)
    );
    assert!(history.iter().all(|entry| entry.confirmation.is_some()));
}

async fn a_held_funding_survives_a_restart_and_is_broadcast_once_recorded(regtest: Regtest) {
    let databases = Databases::new();
    let path = databases.path("db.sqlite");
    let wallet = open(&regtest, &path, ScanStart::Tip).await;
    fund(&regtest, &wallet, &[60_000, 60_000]).await;
    let script = regtest.address().script_pubkey();
    let amount = FundingAmount::Exact(Amount::from_sat(50_000));
    let fund = || wallet.prepare_funding(script.clone(), amount, FEE_RATE);
    let (first, second) = tokio::join!(fund(), fund());
    let first = hold(&wallet, first.unwrap(), "board.1").await;
    let second = hold(&wallet, second.unwrap(), "board.2").await;
    assert_ne!(
        first.unsigned_tx.input[0].previous_output,
        second.unsigned_tx.input[0].previous_output
    );
    drop(wallet);

    let wallet = open(&regtest, &path, ScanStart::Tip).await;
    wallet.sync().await.unwrap();
    assert!(regtest.mempool().await.is_empty());
    let drained = wallet.prepare_drain(regtest.address(), FEE_RATE).await;
    assert!(matches!(drained, Err(Error::InsufficientFunds { .. })));

    let txid = first.unsigned_tx.compute_txid();
    let transaction = wallet.sign(first).unwrap();
    assert_eq!(transaction.compute_txid(), txid);
    record(&wallet, &transaction, "board.1").await;
    wallet.catch_up().await.unwrap();
    let status = wallet.0.chain.status(txid).await.unwrap();
    assert_eq!(status, TxStatus::NotFound);

    wallet.rebroadcast(now() + 1).await.unwrap();
    assert_eq!(regtest.mempool().await, [txid]);
    regtest.mine(1).await;
    wallet.sync().await.unwrap();
    assert_eq!(wallet.utxos().len(), 2);
}

async fn a_restored_wallet_finds_its_transactions_and_its_next_address(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("old.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[10_000, 20_000]).await;
    let sent = wallet
        .send(regtest.address(), Amount::from_sat(15_000), FEE_RATE)
        .await
        .unwrap();
    let next = wallet.next_address().await.unwrap();

    let restored = open(&regtest, &databases.path("new.sqlite"), ScanStart::Full).await;
    assert_eq!(restored.balance(), wallet.balance());
    assert!(
        restored
            .transactions()
            .iter()
            .any(|entry| entry.transaction.compute_txid() == sent)
    );
    assert_eq!(restored.next_address().await.unwrap(), next);
    // The fixture's chain starts with 120 blocks.
    let start = ScanStart::From(BlockHeight::new(120));
    let restored = open(&regtest, &databases.path("late.sqlite"), start).await;
    assert_eq!(restored.balance(), wallet.balance());
}

async fn a_double_spent_payment_is_evicted(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("a.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[60_000]).await;
    let script = regtest.address().script_pubkey();
    let amount = FundingAmount::Exact(Amount::from_sat(50_000));
    let funding = wallet
        .prepare_funding(script, amount, FEE_RATE)
        .await
        .unwrap();
    let transaction = wallet.sign(funding.psbt().clone()).unwrap();
    record(&wallet, &transaction, "board.1").await;
    wallet.catch_up().await.unwrap();
    drop(funding);

    let twin = open(&regtest, &databases.path("b.sqlite"), ScanStart::Full).await;
    let to = twin.next_address().await.unwrap();
    let other = twin.prepare_drain(to, FEE_RATE).await;
    let other = twin.pay(other).await.unwrap();
    regtest.mine(1).await;
    wallet.next_address().await.unwrap();
    wallet.sync().await.unwrap();
    wallet.rebroadcast(now() + 1).await.unwrap();
    let ids: Vec<Txid> = wallet
        .transactions()
        .iter()
        .map(|entry| entry.transaction.compute_txid())
        .collect();
    assert!(!ids.contains(&transaction.compute_txid()));
    assert!(ids.contains(&other));
}

async fn a_payment_is_evicted_when_its_deposit_is_double_spent_in_a_reorganisation(
    regtest: Regtest,
) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[60_000]).await;
    let deposit = regtest
        .transaction(wallet.transactions()[0].transaction.compute_txid())
        .await;
    wallet
        .send(regtest.address(), Amount::from_sat(20_000), FEE_RATE)
        .await
        .unwrap();

    let conflict = regtest.conflict(&deposit).await;
    regtest.reorg_to(conflict).await;
    wallet.sync().await.unwrap();
    wallet.rebroadcast(now() + 1).await.unwrap();
    assert_eq!(wallet.balance(), OnchainBalance::default());
    assert!(wallet.transactions().is_empty());
}

async fn a_reorganisation_moves_confirmations(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    fund(&regtest, &wallet, &[10_000]).await;
    let before = wallet.transactions()[0].confirmation.unwrap();
    regtest.mine(2).await;
    wallet.sync().await.unwrap();
    regtest.reorg(3).await;
    wallet.sync().await.unwrap();
    let after = wallet.transactions()[0].confirmation.unwrap();
    assert_ne!(before.hash, after.hash);
    assert!(after.height >= BlockHeight::new(121));
    assert_eq!(wallet.balance().confirmed.to_sat(), 10_000);
}

async fn callers_share_a_sync_that_started_after_their_call(regtest: Regtest) {
    let databases = Databases::new();
    let wallet = open(&regtest, &databases.path("db.sqlite"), ScanStart::Tip).await;
    let syncs = (0..20).map(|_| {
        let wallet = wallet.clone();
        tokio::spawn(async move { wallet.sync().await })
    });
    for sync in futures::future::join_all(syncs).await {
        sync.unwrap().unwrap();
    }
    let started = wallet
        .0
        .syncs_started
        .load(std::sync::atomic::Ordering::SeqCst);
    assert!(started < 20, "{started} syncs for 20 callers");
}
