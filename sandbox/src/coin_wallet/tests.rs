//! Coin selection and locks.

use super::*;
use crate::chain::testing::{SAT_PER_VB, config};

async fn rich() -> CoinWallet {
    let key = CoinKey::derive(&[3; 32], "coins");
    let chain = Chain::start(config(None, key.script())).unwrap();
    chain.mine(101).await.unwrap();
    CoinWallet::new(chain, key)
}

fn pay(sat: u64) -> TxOut {
    let script_pubkey = CoinKey::derive(&[4; 32], "other").script();
    TxOut {
        value: Amount::from_sat(sat),
        script_pubkey,
    }
}

#[tokio::test]
async fn outputs_keep_their_places_and_change_is_spent_before_it_confirms() {
    let coins = rich().await;
    let funded = coins
        .fund(vec![pay(1000), pay(2000)], SAT_PER_VB)
        .await
        .unwrap();
    assert_eq!(funded.tx.output[..2], [pay(1000), pay(2000)]);
    assert_eq!(
        coins.balance().await.unwrap().locked,
        Amount::from_int_btc(50)
    );
    let signed = coins.sign(funded.tx).await.unwrap();
    assert_eq!(funded.fee.to_sat(), signed.vsize() as u64);
    let txid = coins.chain.submit(signed).await.unwrap().unwrap();
    coins.release(funded.lock).await;
    let balance = coins.balance().await.unwrap();
    assert_eq!(balance.locked, Amount::ZERO);
    assert_eq!(
        balance.pending,
        Amount::from_int_btc(50) - Amount::from_sat(3000) - funded.fee
    );

    // Two coinbases were mature and one is spent, so 99 bitcoin need the change as well.
    let next = coins
        .fund(vec![pay(99 * 100_000_000)], SAT_PER_VB)
        .await
        .unwrap();
    let spends_change = |input: &TxIn| input.previous_output.txid == txid;
    assert!(next.tx.input.iter().any(spends_change));
    let signed = coins.sign(next.tx).await.unwrap();
    coins.chain.submit(signed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_locked_coin_is_not_used_twice_unless_pinned_after_its_release() {
    let coins = rich().await;
    let first = coins.fund(vec![pay(1000)], SAT_PER_VB).await.unwrap();
    let coin = first.tx.input[0].previous_output;
    let all = coins.fund(vec![pay(60 * 100_000_000)], SAT_PER_VB).await;
    assert!(all.is_err(), "coins are locked or immature");
    assert!(
        coins
            .fund_including(Some(coin), vec![pay(2000)], SAT_PER_VB)
            .await
            .is_err()
    );
    coins.release(first.lock).await;
    let second = coins
        .fund_including(Some(coin), vec![pay(2000)], SAT_PER_VB)
        .await
        .unwrap();
    assert!(
        second
            .tx
            .input
            .iter()
            .any(|input| input.previous_output == coin)
    );
}

#[tokio::test]
async fn a_foreign_payment_is_not_trusted_before_it_confirms() {
    let giver = rich().await;
    let taker = CoinWallet::new(giver.chain.clone(), CoinKey::derive(&[5; 32], "taker"));
    giver
        .pay(taker.key().script(), Amount::from_sat(100_000), SAT_PER_VB)
        .await
        .unwrap();
    assert!(taker.fund(vec![pay(1000)], SAT_PER_VB).await.is_err());
    giver.chain.mine(1).await.unwrap();
    assert!(taker.fund(vec![pay(1000)], SAT_PER_VB).await.is_ok());
}
