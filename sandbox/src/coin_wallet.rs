//! A coin wallet of one taproot key, for the faucet and for the Ark server's own money.
//!
//! The chain tells which coins there are, so the wallet keeps nothing but its key and the locks on coins that are promised
//! to a transaction not broadcast yet. Locks are in RAM: what is not broadcast when the process ends is abandoned.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use bitcoin::constants::COINBASE_MATURITY;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::key::{Keypair, Secp256k1, TapTweak, TweakedKeypair, UntweakedKeypair};
use bitcoin::secp256k1::{All, Message};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::{
    Address, Amount, FeeRate, Network, OutPoint, ScriptBuf, Sequence, TapSighashType, Transaction,
    TxIn, TxOut, Txid, Witness, absolute, taproot, transaction,
};
use tokio::sync::Mutex;

use super::chain::{Chain, Reject, Unspent};

/// Bytes of a taproot signature with the default sighash type.
const SIGNATURE_LEN: usize = 64;

/// The key that a wallet's coins are paid to.
#[derive(Clone)]
pub struct CoinKey {
    secp: Secp256k1<All>,
    keypair: TweakedKeypair,
}

impl CoinKey {
    /// The key that belongs to a seed and a purpose; the same for the same two.
    pub fn derive(seed: &[u8; 32], purpose: &str) -> CoinKey {
        let secp = Secp256k1::new();
        let mut engine = sha256::Hash::engine();
        engine.input(seed);
        engine.input(purpose.as_bytes());
        let mut secret = sha256::Hash::from_engine(engine);
        // A hash is out of the key's range once in 2^128; hash on until it is in.
        let keypair: UntweakedKeypair = loop {
            match Keypair::from_seckey_slice(&secp, secret.as_byte_array()) {
                Ok(keypair) => break keypair,
                Err(_) => secret = sha256::Hash::hash(secret.as_byte_array()),
            }
        };
        CoinKey {
            keypair: keypair.tap_tweak(&secp, None),
            secp,
        }
    }

    /// The script that pays to the key.
    pub fn script(&self) -> ScriptBuf {
        let (output_key, _) = self.keypair.public_parts();
        ScriptBuf::new_p2tr_tweaked(output_key)
    }

    /// The regtest address that pays to the key.
    pub fn address(&self) -> Address {
        let (output_key, _) = self.keypair.public_parts();
        Address::p2tr_tweaked(output_key, Network::Regtest)
    }

    /// Signs the inputs that spend coins of the key. `spent` are the outputs that the inputs spend, in their order.
    pub fn sign(&self, mut tx: Transaction, spent: &[TxOut]) -> anyhow::Result<Transaction> {
        let script = self.script();
        let mut witnesses = Vec::new();
        let mut cache = SighashCache::new(&tx);
        for (index, output) in spent.iter().enumerate() {
            if output.script_pubkey != script {
                continue;
            }
            let hash = cache.taproot_key_spend_signature_hash(
                index,
                &Prevouts::All(spent),
                TapSighashType::Default,
            )?;
            let message = Message::from_digest(hash.to_byte_array());
            let signature = self
                .secp
                .sign_schnorr_no_aux_rand(&message, &self.keypair.to_keypair());
            let signature = taproot::Signature {
                signature,
                sighash_type: TapSighashType::Default,
            };
            witnesses.push((index, Witness::p2tr_key_spend(&signature)));
        }
        for (index, witness) in witnesses {
            tx.input[index].witness = witness;
        }
        Ok(tx)
    }
}

/// What a wallet owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoinBalance {
    /// Confirmed and free to spend.
    pub confirmed: Amount,
    /// Waits in the mempool.
    pub pending: Amount,
    /// Coinbase outputs that are not deep enough yet.
    pub immature: Amount,
    /// The part of the above that is promised to transactions not broadcast yet.
    pub locked: Amount,
}

/// Names the coins that one funding locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CoinLock(u64);

/// A transaction that pays the outputs asked for; unsigned, its coins locked.
#[derive(Clone, Debug)]
pub struct Funded {
    /// The outputs asked for come first and in order; change, if any, comes last.
    pub tx: Transaction,
    /// What it pays to the miner.
    pub fee: Amount,
    /// Keeps its coins from being used elsewhere until it is released.
    pub lock: CoinLock,
}

#[derive(Default)]
struct Locks {
    next: u64,
    coins: HashMap<OutPoint, CoinLock>,
}

/// The wallet.
pub struct CoinWallet {
    chain: Chain,
    key: CoinKey,
    locks: Mutex<Locks>,
}

impl CoinWallet {
    /// The wallet of a key on a chain.
    pub fn new(chain: Chain, key: CoinKey) -> CoinWallet {
        CoinWallet {
            chain,
            key,
            locks: Mutex::default(),
        }
    }

    /// Its key, to sign what spends outputs that the chain does not know yet.
    pub fn key(&self) -> &CoinKey {
        &self.key
    }

    /// The address to pay it at.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// What it owns now.
    pub async fn balance(&self) -> anyhow::Result<CoinBalance> {
        let locks = self.locks.lock().await;
        let tip = self.chain.tip().await?;
        let mut balance = CoinBalance::default();
        for coin in self.chain.unspent(&self.key.script()).await? {
            let part = match coin.height {
                None => &mut balance.pending,
                Some(_) if !is_mature(&coin, tip.height) => &mut balance.immature,
                Some(_) => &mut balance.confirmed,
            };
            *part += coin.output.value;
            if locks.coins.contains_key(&coin.outpoint) {
                balance.locked += coin.output.value;
            }
        }
        Ok(balance)
    }

    /// Builds an unsigned transaction of version 2 that pays `outputs`, and locks the coins that it spends.
    pub async fn fund(&self, outputs: Vec<TxOut>, fee_rate: FeeRate) -> anyhow::Result<Funded> {
        self.fund_including(None, outputs, fee_rate).await
    }

    /// Like [`CoinWallet::fund`], but spends a given coin of the wallet in any case, so that of several transactions that
    /// include the same coin only one can be mined.
    pub async fn fund_including(
        &self,
        pinned: Option<OutPoint>,
        outputs: Vec<TxOut>,
        fee_rate: FeeRate,
    ) -> anyhow::Result<Funded> {
        let mut locks = self.locks.lock().await;
        let mut coins = self.spendable(&locks).await?;
        // From the end: the pinned coin, then confirmed ones, the largest first.
        coins.sort_by_key(|coin| {
            (
                Some(coin.outpoint) == pinned,
                coin.height.is_some(),
                coin.output.value,
            )
        });
        if let Some(pinned) = pinned {
            let found = coins.last().is_some_and(|coin| coin.outpoint == pinned);
            ensure!(found, "coin {pinned} is not there or not free");
        }
        let (tx, fee) = self.select(coins, outputs, fee_rate)?;
        locks.next += 1;
        let lock = CoinLock(locks.next);
        locks
            .coins
            .extend(tx.input.iter().map(|input| (input.previous_output, lock)));
        Ok(Funded { tx, fee, lock })
    }

    /// Frees the coins of a funding, after its transaction is broadcast or given up.
    pub async fn release(&self, lock: CoinLock) {
        self.locks
            .lock()
            .await
            .coins
            .retain(|_, held| *held != lock);
    }

    /// Signs the inputs that spend coins of this wallet. All outputs spent must be in chain or mempool.
    pub async fn sign(&self, tx: Transaction) -> anyhow::Result<Transaction> {
        let mut spent = Vec::with_capacity(tx.input.len());
        for input in &tx.input {
            let OutPoint { txid, vout } = input.previous_output;
            let parent = self
                .chain
                .tx(txid)
                .await?
                .with_context(|| format!("transaction {txid} is not known"))?;
            let output = parent.tx.output.get(vout as usize);
            spent.push(
                output
                    .with_context(|| format!("{txid} has no output {vout}"))?
                    .clone(),
            );
        }
        self.key.sign(tx, &spent)
    }

    /// Pays one output at once: funds, signs and broadcasts.
    pub async fn pay(
        &self,
        script: ScriptBuf,
        amount: Amount,
        fee_rate: FeeRate,
    ) -> anyhow::Result<Txid> {
        let funded = self
            .fund(
                vec![TxOut {
                    value: amount,
                    script_pubkey: script,
                }],
                fee_rate,
            )
            .await?;
        let sent = self.broadcast(funded.tx).await;
        self.release(funded.lock).await;
        Ok(sent??)
    }

    async fn broadcast(&self, tx: Transaction) -> anyhow::Result<Result<Txid, Reject>> {
        let tx = self.sign(tx).await?;
        self.chain.submit(tx).await
    }

    /// The coins that are free: confirmed and mature, or change of a transaction that spends only coins of this wallet.
    async fn spendable(&self, locks: &Locks) -> anyhow::Result<Vec<Unspent>> {
        let tip = self.chain.tip().await?;
        let mut free = Vec::new();
        for coin in self.chain.unspent(&self.key.script()).await? {
            if locks.coins.contains_key(&coin.outpoint) || !is_mature(&coin, tip.height) {
                continue;
            }
            if coin.height.is_some() || self.is_own_change(coin.outpoint.txid).await? {
                free.push(coin);
            }
        }
        Ok(free)
    }

    /// Whether an unconfirmed transaction spends only coins of this wallet, and may have a child of version 2.
    async fn is_own_change(&self, txid: Txid) -> anyhow::Result<bool> {
        let Some(parent) = self.chain.tx(txid).await? else {
            return Ok(false);
        };
        let script = self.key.script();
        for input in &parent.tx.input {
            let OutPoint { txid, vout } = input.previous_output;
            let spent = self.chain.tx(txid).await?;
            let own = spent.and_then(|spent| {
                spent
                    .tx
                    .output
                    .get(vout as usize)
                    .map(|out| out.script_pubkey == script)
            });
            if own != Some(true) {
                return Ok(false);
            }
        }
        Ok(parent.tx.version == transaction::Version::TWO)
    }

    /// Adds coins from the end until they pay for outputs and fee.
    fn select(
        &self,
        mut coins: Vec<Unspent>,
        outputs: Vec<TxOut>,
        fee_rate: FeeRate,
    ) -> anyhow::Result<(Transaction, Amount)> {
        let script = self.key.script();
        let target = outputs
            .iter()
            .try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
        let target = target
            .filter(|sum| *sum <= Amount::MAX_MONEY)
            .context("more than all money")?;
        let mut tx = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: Vec::new(),
            output: outputs,
        };
        let mut paid_in = Amount::ZERO;
        let available: Amount = coins.iter().map(|coin| coin.output.value).sum();
        while let Some(coin) = coins.pop() {
            paid_in += coin.output.value;
            tx.input.push(TxIn {
                previous_output: coin.outpoint,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::from_slice(&[[0; SIGNATURE_LEN]]),
            });
            let bare_fee = fee_of(&tx, fee_rate)?;
            tx.output.push(TxOut {
                value: Amount::ZERO,
                script_pubkey: script.clone(),
            });
            let fee = fee_of(&tx, fee_rate)?;
            let change = paid_in
                .checked_sub(target + fee)
                .filter(|change| *change >= script.minimal_non_dust());
            if let (Some(change), Some(output)) = (change, tx.output.last_mut()) {
                output.value = change;
            } else {
                tx.output.pop();
                if paid_in < target + bare_fee {
                    continue;
                }
            }
            for input in &mut tx.input {
                input.witness.clear();
            }
            let fee = paid_in - tx.output.iter().map(|output| output.value).sum();
            return Ok((tx, fee));
        }
        bail!("not enough coins: {available} free, {target} and the fee needed")
    }
}

fn is_mature(coin: &Unspent, tip: u32) -> bool {
    !coin.coinbase
        || coin
            .height
            .is_some_and(|height| tip + 1 >= height + COINBASE_MATURITY)
}

fn fee_of(tx: &Transaction, rate: FeeRate) -> anyhow::Result<Amount> {
    rate.fee_vb(tx.vsize() as u64)
        .context("fee rate out of range")
}

#[cfg(test)]
mod tests {
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
}
