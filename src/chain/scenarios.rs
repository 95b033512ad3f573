//! Tests of the chain source that run on every kind of backend.

use arkwalletd_sandbox::testing::Regtest;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
};

use super::fixture::{connect, on_each_backend};
use super::*;

on_each_backend!(
    a_transaction_is_unknown_then_in_the_mempool_then_confirmed,
    a_spender_is_found_in_the_mempool_and_in_blocks,
    the_spent_ones_of_many_outputs_are_found,
    a_reorganisation_changes_spends_and_statuses,
    after_a_reorganisation_the_conflicting_spend_is_found,
    a_zero_fee_parent_is_accepted_with_a_child_that_pays,
    a_package_counts_each_unconfirmed_transaction_once,
    a_double_spend_and_a_replacement_fee_that_is_too_low_differ,
    the_tip_follows_blocks_and_fee_rates_have_a_fallback,
);

/// Spends coins of the fixture's key to `outputs`.
fn spend(regtest: &Regtest, coins: &[(OutPoint, TxOut)], outputs: Vec<TxOut>) -> Transaction {
    spend_with_version(regtest, coins, outputs, Version::TWO)
}

fn spend_with_version(
    regtest: &Regtest,
    coins: &[(OutPoint, TxOut)],
    outputs: Vec<TxOut>,
    version: Version,
) -> Transaction {
    let input = |(outpoint, _): &(OutPoint, TxOut)| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let transaction = Transaction {
        version,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(input).collect(),
        output: outputs,
    };
    let spent: Vec<TxOut> = coins.iter().map(|(_, output)| output.clone()).collect();
    regtest.key().sign(transaction, &spent).unwrap()
}

fn to_fixture(regtest: &Regtest, sats: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(sats),
        script_pubkey: regtest.key().script(),
    }
}

async fn confirmed_at(chain: &ChainSource, txid: Txid) -> Option<u32> {
    match chain.status(txid).await.unwrap() {
        TxStatus::Confirmed { height, .. } => Some(height.to_u32()),
        _ => None,
    }
}

async fn a_transaction_is_unknown_then_in_the_mempool_then_confirmed(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let unknown = Txid::from_byte_array([9; 32]);
    assert_eq!(chain.status(unknown).await.unwrap(), TxStatus::NotFound);
    assert_eq!(chain.transaction(unknown).await.unwrap(), None);

    let txid = regtest.pay(regtest.key().script(), 30_000).await;
    assert_eq!(chain.status(txid).await.unwrap(), TxStatus::Mempool);
    let waiting = chain.transaction(txid).await.unwrap().unwrap();
    assert_eq!(waiting.compute_txid(), txid);
    regtest.mine(2).await;
    chain.expire_tip();
    let tip = chain.tip().await.unwrap().height.to_u32();
    assert_eq!(confirmed_at(&chain, txid).await, Some(tip - 1));
    assert_eq!(chain.transaction(txid).await.unwrap(), Some(waiting));
}

async fn a_spender_is_found_in_the_mempool_and_in_blocks(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let (outpoint, output) = regtest.coin(50_000).await;
    assert_eq!(chain.spender(outpoint).await.unwrap(), None);
    regtest.mine(1).await;
    assert_eq!(chain.spender(outpoint).await.unwrap(), None);

    let spender = spend(
        &regtest,
        &[(outpoint, output)],
        vec![to_fixture(&regtest, 40_000)],
    );
    let txid = spender.compute_txid();
    chain.broadcast_package(&[spender]).await.unwrap();
    let waiting = Spend {
        txid,
        status: TxStatus::Mempool,
    };
    assert_eq!(chain.spender(outpoint).await.unwrap(), Some(waiting));
    regtest.mine(5).await;
    let mined = chain.spender(outpoint).await.unwrap().unwrap();
    assert_eq!(mined.status, chain.status(txid).await.unwrap());
    assert_eq!(mined.txid, txid);

    // A new source has no cache, so it scans from the tip.
    let other = connect(&regtest).await;
    assert_eq!(other.spender(outpoint).await.unwrap(), Some(mined));
    assert_eq!(other.spender(outpoint).await.unwrap(), Some(mined));
    let never_created = OutPoint::new(txid, 7);
    assert_eq!(other.spender(never_created).await.unwrap(), None);
    let unknown = OutPoint::new(Txid::from_byte_array([9; 32]), 0);
    assert_eq!(other.spender(unknown).await.unwrap(), None);
}

async fn the_spent_ones_of_many_outputs_are_found(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let mut coins = Vec::new();
    for _ in 0..5 {
        coins.push(regtest.coin(50_000).await);
    }
    regtest.mine(1).await;
    let asked: Vec<OutPoint> = coins.iter().map(|(outpoint, _)| *outpoint).collect();
    assert!(chain.spenders(&asked).await.unwrap().is_empty());
    assert!(chain.spenders(&[]).await.unwrap().is_empty());

    let mut expected = std::collections::HashMap::new();
    for (mined, spent) in [(true, &coins[1..2]), (false, &coins[3..4])] {
        let spender = spend(&regtest, spent, vec![to_fixture(&regtest, 40_000)]);
        let txid = spender.compute_txid();
        chain.broadcast_package(&[spender]).await.unwrap();
        if mined {
            regtest.mine(1).await;
        }
        let status = chain.status(txid).await.unwrap();
        expected.insert(spent[0].0, Spend { txid, status });
    }
    assert_eq!(chain.spenders(&asked).await.unwrap(), expected);
}

async fn a_reorganisation_changes_spends_and_statuses(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let (outpoint, output) = regtest.coin(50_000).await;
    regtest.mine(1).await;
    assert_eq!(chain.spender(outpoint).await.unwrap(), None);
    let spender = spend(
        &regtest,
        &[(outpoint, output)],
        vec![to_fixture(&regtest, 40_000)],
    );
    chain
        .broadcast_package(std::slice::from_ref(&spender))
        .await
        .unwrap();
    regtest.mine(3).await;
    let before = chain.spender(outpoint).await.unwrap().unwrap();

    regtest.reorg(3).await;
    let after = chain.spender(outpoint).await.unwrap().unwrap();
    assert_eq!(after.txid, before.txid);
    assert_ne!(after.status, before.status);
    let status = chain.status(spender.compute_txid()).await.unwrap();
    assert_eq!(after.status, status);
}

async fn after_a_reorganisation_the_conflicting_spend_is_found(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let coin = regtest.coin(70_000).await;
    regtest.mine(1).await;
    let outpoint = coin.0;
    let undone = [spend(&regtest, &[coin], vec![to_fixture(&regtest, 60_000)])];
    chain.broadcast_package(&undone).await.unwrap();
    regtest.mine(1).await;
    let found = chain.spender(outpoint).await.unwrap().unwrap();
    assert_eq!(found.txid, undone[0].compute_txid());

    let conflict = regtest.conflict(&undone[0]).await;
    regtest.reorg_to(conflict.clone()).await;
    let found = chain.spender(outpoint).await.unwrap().unwrap();
    assert_eq!(found.txid, conflict.compute_txid());
    let gone = chain.status(undone[0].compute_txid()).await.unwrap();
    assert_eq!(gone, TxStatus::NotFound);
}

async fn a_zero_fee_parent_is_accepted_with_a_child_that_pays(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let money = regtest.coin(50_000).await;
    let fees = regtest.coin(20_000).await;
    regtest.mine(1).await;
    let anchor = TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::from_hex("51024e73").unwrap(),
    };
    let outputs = vec![to_fixture(&regtest, 50_000), anchor.clone()];
    let parent = spend_with_version(&regtest, &[money], outputs, Version(3));
    let anchor = (OutPoint::new(parent.compute_txid(), 1), anchor);
    let outputs = vec![to_fixture(&regtest, 15_000)];
    let child = spend_with_version(&regtest, &[anchor.clone(), fees], outputs, Version(3));

    let alone = chain.broadcast_package(std::slice::from_ref(&parent)).await;
    assert!(
        matches!(alone, Err(BroadcastError::Rejected(_))),
        "{alone:?}"
    );
    let package = [parent.clone(), child.clone()];
    chain.broadcast_package(&package).await.unwrap();
    chain.broadcast_package(&package).await.unwrap();
    let waiting = chain.spender(anchor.0).await.unwrap().unwrap();
    assert_eq!(waiting.txid, child.compute_txid());
    regtest.mine(1).await;
    assert!(confirmed_at(&chain, parent.compute_txid()).await.is_some());
    let mined = chain.spender(anchor.0).await.unwrap().unwrap();
    assert_eq!(mined.status, chain.status(mined.txid).await.unwrap());
}

/// W25: the size of the ancestors includes the transaction itself.
async fn a_package_counts_each_unconfirmed_transaction_once(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let coin = regtest.coin(50_000).await;
    regtest.mine(1).await;
    let outputs = [24_000, 25_000].map(|sats| to_fixture(&regtest, sats));
    let parent = spend(&regtest, &[coin], outputs.to_vec());
    let both: Vec<_> = [0, 1]
        .map(|vout| OutPoint::new(parent.compute_txid(), vout))
        .into_iter()
        .zip(parent.output.clone())
        .collect();
    let child = spend(&regtest, &both, vec![to_fixture(&regtest, 40_000)]);
    for transaction in [&parent, &child] {
        let alone = std::slice::from_ref(transaction);
        chain.broadcast_package(alone).await.unwrap();
    }
    let package = chain.mempool_package(child.compute_txid()).await.unwrap();
    let expected = MempoolPackage {
        fee: Amount::from_sat(10_000),
        vsize: (parent.vsize() + child.vsize()) as u64,
    };
    assert_eq!(package, Some(expected));
    let rate = FeeRate::from_sat_per_kwu(10_000 * 250 / expected.vsize);
    assert!(expected.pays(rate));
    assert!(!expected.pays(FeeRate::from_sat_per_kwu(rate.to_sat_per_kwu() + 1)));
    regtest.mine(1).await;
    let package = chain.mempool_package(child.compute_txid()).await.unwrap();
    assert_eq!(package, None);
}

async fn a_double_spend_and_a_replacement_fee_that_is_too_low_differ(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let coin = regtest.coin(50_000).await;
    regtest.mine(1).await;
    let coin = std::slice::from_ref(&coin);
    let first = [spend(&regtest, coin, vec![to_fixture(&regtest, 40_000)])];
    chain.broadcast_package(&first).await.unwrap();
    chain.broadcast_package(&first).await.unwrap();
    let cheaper = [spend(&regtest, coin, vec![to_fixture(&regtest, 45_000)])];
    let refused = chain.broadcast_package(&cheaper).await;
    assert!(
        matches!(refused, Err(BroadcastError::FeeTooLow(_))),
        "{refused:?}"
    );

    regtest.mine(1).await;
    let refused = chain.broadcast_package(&cheaper).await;
    assert_eq!(refused, Err(BroadcastError::MissingOrSpent));
    // A transaction that is in a block counts as accepted.
    chain.broadcast_package(&first).await.unwrap();
}

async fn the_tip_follows_blocks_and_fee_rates_have_a_fallback(regtest: Regtest) {
    let chain = connect(&regtest).await;
    let before = chain.tip().await.unwrap();
    regtest.mine(3).await;
    chain.expire_tip();
    let after = chain.tip().await.unwrap();
    assert_eq!(after.height.to_u32(), before.height.to_u32() + 3);
    regtest.reorg(1).await;
    chain.expire_tip();
    assert_ne!(chain.tip().await.unwrap().hash, after.hash);
    let rates = chain.refresh_fee_rates().await.unwrap();
    assert!(rates.fast >= rates.slow && rates.slow >= FeeRate::BROADCAST_MIN);
}
