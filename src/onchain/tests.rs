//! Tests of the on-chain wallet without a chain: coins are never selected twice, and memory and database stay consistent.

use std::path::Path;

use bdk_wallet::Update;
use bdk_wallet::chain::{BlockId, ConfirmationBlockTime};
use bitcoin::absolute::LockTime;
use bitcoin::bip32::Xpriv;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, BlockHash, FeeRate, Network, OutPoint, Psbt, ScriptBuf, Sequence, Transaction,
    TxIn, TxOut, Txid, Witness,
};
use bitcoin_ext::BlockHeight;

use super::wallet::now;
use super::*;
use crate::chain::{self, ChainSource, Tip};
use crate::store::Store;

const NETWORK: Network = Network::Regtest;
const FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

impl OnchainWallet {
    /// Records and broadcasts a payment in one go.
    pub(super) async fn pay(&self, payment: Result<PreparedPayment, Error>) -> Result<Txid, Error> {
        let payment = payment?;
        let transaction = payment.transaction().clone();
        self.0.store.write(move |tx| payment.record(tx)).await?;
        Ok(self.publish_payment(transaction).await)
    }

    /// Pays one recipient.
    pub(super) async fn send(
        &self,
        to: Address,
        amount: Amount,
        fee_rate: FeeRate,
    ) -> Result<Txid, Error> {
        self.pay(self.prepare_payment(&[(to, amount)], fee_rate).await)
            .await
    }
}

async fn open(path: &Path) -> OnchainWallet {
    let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    load(path, words).await.unwrap()
}

async fn load(path: &Path, words: &str) -> Result<OnchainWallet, Error> {
    let seed = bip39::Mnemonic::parse(words).unwrap().to_seed("");
    let root = Xpriv::new_master(NETWORK, &seed).unwrap();
    let tip = Tip {
        height: BlockHeight::ZERO,
        hash: genesis_block(NETWORK).block_hash(),
    };
    let store = Store::open(path).unwrap();
    let chain = ChainSource::unreachable(tip);
    OnchainWallet::load(store, chain, &root, NETWORK, ScanStart::Tip).await
}

fn paying(script: ScriptBuf, amount: Amount, salt: u8) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([salt; 32]), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![TxOut {
            script_pubkey: script,
            value: amount,
        }],
    }
}

impl OnchainWallet {
    /// Puts confirmed coins into the wallet, in block 1.
    async fn fund(&self, sats: &[u64]) {
        let block_id = BlockId {
            height: 1,
            hash: BlockHash::from_byte_array([1; 32]),
        };
        let anchor = ConfirmationBlockTime {
            block_id,
            confirmation_time: 1,
        };
        for (salt, sats) in (1..).zip(sats) {
            let script = self.next_address().await.unwrap().script_pubkey();
            let deposit = paying(script, Amount::from_sat(*sats), salt);
            let mut state = self.0.state();
            let mut update = Update {
                chain: Some(state.wallet.latest_checkpoint().insert(block_id)),
                ..Update::default()
            };
            update.tx_update.anchors = [(anchor, deposit.compute_txid())].into();
            update.tx_update.txs = vec![deposit.into()];
            state.wallet.apply_update(update).unwrap();
            state.collect_changes();
            self.0.publish(&state);
        }
        self.save().await.unwrap();
    }

    async fn prepare_sats(&self, sats: u64) -> Result<Funding, Error> {
        let amount = FundingAmount::Exact(Amount::from_sat(sats));
        self.prepare_funding(foreign().script_pubkey(), amount, FEE_RATE)
            .await
    }

    async fn hold(&self, funding: Funding, operation: &'static str) -> Psbt {
        self.0
            .store
            .write(move |tx| funding.hold(tx, operation))
            .await
            .unwrap()
    }
}

/// An address of another wallet.
fn foreign() -> Address {
    "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
        .parse::<Address<_>>()
        .unwrap()
        .require_network(NETWORK)
        .unwrap()
}

fn inputs(psbt: &Psbt) -> Vec<OutPoint> {
    let inputs = psbt.unsigned_tx.input.iter();
    inputs.map(|input| input.previous_output).collect()
}

fn is_short(result: &Result<Funding, Error>) -> bool {
    matches!(result, Err(Error::InsufficientFunds { .. }))
}

#[tokio::test]
async fn addresses_follow_bip86_and_are_never_given_out_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let wallet = open(&path).await;
    let first = wallet.next_address().await.unwrap();
    assert_eq!(
        first.to_string(),
        "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg"
    );
    let second = wallet.next_address().await.unwrap();
    drop(wallet);
    let third = open(&path).await.next_address().await.unwrap();
    assert_ne!(first, second);
    assert_ne!(second, third);
    assert_ne!(first, third);
}

#[tokio::test]
async fn another_seeds_wallet_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    drop(open(&path).await);
    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    assert!(matches!(load(&path, words).await, Err(Error::Mismatch(_))));
}

#[tokio::test]
async fn two_fundings_share_no_coin_and_a_dropped_one_frees_its_coins() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000, 50_000]).await;

    let (first, second) = tokio::join!(wallet.prepare_sats(40_000), wallet.prepare_sats(40_000));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(inputs(first.psbt()), inputs(second.psbt()));
    assert!(is_short(&wallet.prepare_sats(40_000).await));
    drop(first);
    assert!(wallet.prepare_sats(40_000).await.is_ok());
}

#[tokio::test]
async fn held_coins_survive_a_restart_until_they_are_released() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let wallet = open(&path).await;
    wallet.fund(&[50_000]).await;
    let funding = wallet.prepare_sats(40_000).await.unwrap();
    wallet.hold(funding, "board.1").await;
    assert!(is_short(&wallet.prepare_sats(10_000).await));
    drop(wallet);

    let wallet = open(&path).await;
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(50_000));
    assert!(is_short(&wallet.prepare_sats(10_000).await));
    let drained = wallet.prepare_drain(foreign(), FEE_RATE).await;
    assert!(matches!(drained, Err(Error::InsufficientFunds { .. })));

    let releasing = wallet.clone();
    wallet
        .0
        .store
        .write(move |tx| releasing.release(tx, "board.1"))
        .await
        .unwrap();
    assert!(wallet.prepare_sats(10_000).await.is_ok());
}

#[tokio::test]
async fn a_rollback_undoes_hold_and_record() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000]).await;
    let funding = wallet.prepare_sats(40_000).await.unwrap();
    let transaction = wallet.sign(funding.psbt().clone()).unwrap();
    let recording = wallet.clone();
    let undone: Result<(), Error> = wallet
        .0
        .store
        .write(move |tx| {
            funding.hold(tx, "board.1")?;
            recording.record(tx, &transaction, None)?;
            Err(Error::NoRecipients)
        })
        .await;
    assert!(undone.is_err());

    wallet.catch_up().await.unwrap();
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(50_000));
    assert_eq!(wallet.transactions().len(), 1);
    assert!(wallet.prepare_sats(40_000).await.is_ok());
}

#[tokio::test]
async fn a_recorded_funding_spends_its_coins_and_its_change_can_be_spent_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let wallet = open(&path).await;
    wallet.fund(&[50_000]).await;
    let funding = wallet.prepare_sats(20_000).await.unwrap();
    let fee = funding.fee();
    let psbt = wallet.hold(funding, "board.1").await;
    let transaction = wallet.sign(psbt).unwrap();
    let (recording, recorded) = (wallet.clone(), transaction.clone());
    wallet
        .0
        .store
        .write(move |tx| recording.record(tx, &recorded, Some("board.1")))
        .await
        .unwrap();

    // Without `catch_up`: coin selection must not regard the spent coin as free.
    let next = wallet.prepare_sats(20_000).await.unwrap();
    assert_eq!(inputs(next.psbt())[0].txid, transaction.compute_txid());
    let expected = OnchainBalance {
        trusted_pending: Amount::from_sat(30_000) - fee,
        ..OnchainBalance::default()
    };
    assert_eq!(wallet.balance(), expected);
    drop((next, wallet));

    for _ in 0..2 {
        let reopened = open(&path).await;
        assert_eq!(reopened.balance(), expected);
        assert_eq!(reopened.transactions().len(), 2);
    }
}

#[tokio::test]
async fn a_payment_is_final_although_the_backend_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000]).await;
    let amount = Amount::from_sat(30_000);
    let txid = wallet.send(foreign(), amount, FEE_RATE).await.unwrap();

    let paid = wallet.transactions().pop().unwrap();
    assert_eq!(paid.transaction.compute_txid(), txid);
    assert_eq!(paid.confirmation, None);
    let cost = (amount + paid.fee.unwrap()).to_signed().unwrap();
    assert_eq!(paid.balance_change, -cost);
    assert!(matches!(
        wallet.sync().await,
        Err(Error::Chain(chain::Error::Unavailable(_)))
    ));
}

#[tokio::test]
async fn an_unlisted_payment_of_ours_is_broadcast_again_and_never_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000]).await;
    let amount = Amount::from_sat(10_000);
    let parent = wallet.send(foreign(), amount, FEE_RATE).await.unwrap();
    let child = wallet.send(foreign(), amount, FEE_RATE).await.unwrap();
    let script = wallet.next_address().await.unwrap().script_pubkey();
    let deposit = paying(script, amount, 9);
    let seen = now();

    let mut state = wallet.0.state();
    state
        .wallet
        .apply_unconfirmed_txs([(deposit.clone(), seen)]);
    let much_later = seen + 1_000;
    let unseen = graph::own_unseen(&state.wallet, much_later);
    let order: Vec<Txid> = unseen.iter().map(|tx| tx.compute_txid()).collect();
    assert_eq!(order, [parent, child]);
    assert!(!graph::may_evict(&state.wallet, parent, much_later));

    let txid = deposit.compute_txid();
    assert!(!graph::may_evict(&state.wallet, txid, seen + 29));
    assert!(graph::may_evict(&state.wallet, txid, seen + 30));
}

/// H26: only a package with its parent brings a child back, and another child may have replaced it.
#[tokio::test]
async fn a_child_that_is_not_listed_is_evicted_after_the_grace_and_its_coin_stays_held() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000]).await;
    let mut parent = paying(foreign().script_pubkey(), Amount::from_sat(1_000), 9);
    parent.output.push(TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::new_p2a(),
    });
    let fee = ChildFee {
        rate: FEE_RATE,
        replaces: None,
    };
    let child = wallet.prepare_child(&parent, &fee).await.unwrap();
    let transaction = child.transaction().clone();
    let held = wallet.0.store.write(move |tx| child.hold(tx, "exit.1"));
    held.await.unwrap();
    let txid = transaction.compute_txid();
    let seen = now();
    {
        let mut state = wallet.0.state();
        let found = [(transaction, seen)];
        state.wallet.apply_unconfirmed_txs(found);
        assert!(graph::own_unseen(&state.wallet, seen + 1_000).is_empty());
        assert!(!graph::may_evict(&state.wallet, txid, seen + 29));
        assert!(graph::may_evict(&state.wallet, txid, seen + 30));
        state.wallet.apply_evicted_txs([(txid, seen + 30)]);
        wallet.0.publish(&state);
    }
    assert_eq!(wallet.balance().confirmed, Amount::from_sat(50_000));
    assert!(is_short(&wallet.prepare_sats(10_000).await));
}

#[tokio::test]
async fn unconfirmed_coins_of_others_are_shown_but_not_spent() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    let script = wallet.next_address().await.unwrap().script_pubkey();
    {
        let mut state = wallet.0.state();
        let deposit = paying(script, Amount::from_sat(50_000), 9);
        state.wallet.apply_unconfirmed_txs([(deposit, now())]);
        wallet.0.publish(&state);
    }
    assert_eq!(wallet.balance().untrusted_pending.to_sat(), 50_000);
    assert_eq!(wallet.balance().trusted_spendable(), Amount::ZERO);
    assert!(is_short(&wallet.prepare_sats(10_000).await));
}

#[tokio::test]
async fn invalid_payments_are_refused_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000]).await;
    let send = async |sats| {
        let sent = wallet.send(foreign(), Amount::from_sat(sats), FEE_RATE);
        sent.await.unwrap_err()
    };
    assert!(matches!(send(293).await, Error::Dust { minimum, .. } if minimum.to_sat() == 294));
    assert!(matches!(
        send(50_000).await,
        Error::InsufficientFunds { needed, available } if needed > available
    ));
    assert!(matches!(send(u64::MAX).await, Error::Transaction(_)));
    let nobody = wallet.prepare_payment(&[], FEE_RATE).await;
    assert!(matches!(nobody, Err(Error::NoRecipients)));
}

#[tokio::test]
async fn change_never_goes_to_an_address_that_was_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000]).await;
    let given_out = wallet.next_address().await.unwrap().script_pubkey();
    let funding = wallet.prepare_sats(20_000).await.unwrap();
    let outputs = &funding.psbt().unsigned_tx.output;
    assert_eq!(outputs.len(), 2);
    assert!(
        outputs
            .iter()
            .all(|output| output.script_pubkey != given_out)
    );
    assert_ne!(
        wallet.next_address().await.unwrap().script_pubkey(),
        outputs[1].script_pubkey
    );
}

#[tokio::test]
async fn a_funding_of_all_coins_leaves_out_those_not_worth_their_fee() {
    let folder = tempfile::tempdir().unwrap();
    let wallet = open(&folder.path().join("db.sqlite")).await;
    wallet.fund(&[50_000, 40_000, 100]).await;
    let script = foreign().script_pubkey();
    let funding = wallet
        .prepare_funding(script, FundingAmount::All, FEE_RATE)
        .await
        .unwrap();
    let outputs = &funding.psbt().unsigned_tx.output;
    assert_eq!(inputs(funding.psbt()).len(), 2);
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].value + funding.fee(), Amount::from_sat(90_000));
}
