//! An on-chain wallet with a single taproot key: the faucet, and the Ark server's own money.
//!
//! It asks the chain for its coins. Besides its key it keeps only locks on coins that unbroadcast transactions spend. Locks are in
//! RAM: a transaction that was not broadcast when the process ends is abandoned.

mod child;
#[cfg(test)]
mod tests;

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

/// The key of a wallet.
#[derive(Clone)]
pub struct CoinKey {
    secp: Secp256k1<All>,
    keypair: TweakedKeypair,
}

impl CoinKey {
    /// Derives a key from a seed and a purpose, deterministically.
    pub fn derive(seed: &[u8; 32], purpose: &str) -> CoinKey {
        let secp = Secp256k1::new();
        let mut engine = sha256::Hash::engine();
        engine.input(seed);
        engine.input(purpose.as_bytes());
        let mut secret = sha256::Hash::from_engine(engine);
        // One hash in 2^128 is not a valid key; then the hash of the hash is tried.
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

/// The balance of a wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoinBalance {
    /// Confirmed and free to spend.
    pub confirmed: Amount,
    /// Waits in the mempool.
    pub pending: Amount,
    /// Coinbase outputs with fewer than 100 confirmations.
    pub immature: Amount,
    /// The part of the above that unbroadcast transactions spend.
    pub locked: Amount,
}

/// Identifies the coins locked by one call of [`CoinWallet::fund`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CoinLock(u64);

/// An unsigned transaction that pays the requested outputs, with its coins locked.
#[derive(Clone, Debug)]
pub struct Funded {
    /// The requested outputs come first and in order; the change output, if any, is last.
    pub tx: Transaction,
    /// Its fee.
    pub fee: Amount,
    /// Its coins stay locked until this is released.
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
    /// A wallet that owns the coins of this key on the chain.
    pub fn new(chain: Chain, key: CoinKey) -> CoinWallet {
        CoinWallet {
            chain,
            key,
            locks: Mutex::default(),
        }
    }

    /// Its key, to sign transactions that spend outputs unknown to the chain.
    pub fn key(&self) -> &CoinKey {
        &self.key
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// Its current balance.
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

    /// Like [`CoinWallet::fund`], but always spends the coin `pinned`. Of several transactions with the same pinned coin, only one
    /// can be mined.
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
            ensure!(found, "coin {pinned} does not exist or is locked");
        }
        let (tx, fee) = self.select(coins, outputs, fee_rate)?;
        locks.next += 1;
        let lock = CoinLock(locks.next);
        locks
            .coins
            .extend(tx.input.iter().map(|input| (input.previous_output, lock)));
        Ok(Funded { tx, fee, lock })
    }

    /// Unlocks the coins of a transaction that was broadcast or abandoned.
    pub async fn release(&self, lock: CoinLock) {
        self.locks
            .lock()
            .await
            .coins
            .retain(|_, held| *held != lock);
    }

    /// Signs the inputs that spend coins of this wallet. All spent outputs must be in the chain or the mempool.
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

    /// Funds, signs and broadcasts a payment of one output.
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

    /// The unlocked coins that are confirmed and mature, or change of a transaction that spends only coins of this wallet.
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

    /// Whether an unconfirmed transaction spends only coins of this wallet and has version 2, so that a child of version 2 is relayed.
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

    /// Adds coins from the end of the list until they cover outputs and fee.
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
            .context("the outputs exceed 21 million bitcoin")?;
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
        bail!("not enough coins: {available} available, {target} plus the fee needed")
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
