//! What is left to do of several exits: which of their transactions have to be broadcast, and what each costs now. Exits share
//! ancestors, so each transaction is looked up once.

use std::collections::HashMap;

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin::{Amount, FeeRate, Transaction, Txid};
use bitcoin_ext::{BlockHeight, TransactionExt};

use crate::chain::{MempoolPackage, TxStatus};
use crate::onchain::{CHILD_WEIGHT, package_fee};
use crate::wallet::{Result, Wallet};

/// What a replacement pays for the relay of each vB, in addition to what it replaces.
const RELAY_RATE: FeeRate = FeeRate::BROADCAST_MIN;

/// What the chain says of the transactions of exits.
pub(super) struct Standing<'w> {
    wallet: &'w Wallet,
    rate: FeeRate,
    known: HashMap<Txid, Status>,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug)]
enum Status {
    Confirmed(BlockHeight),
    /// In the mempool, where it and its child pay this.
    Mempool(Option<MempoolPackage>),
    NotFound,
}

/// A transaction of an exit that is not confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unconfirmed {
    pub(super) txid: Txid,
    /// What its child has to pay; zero when a child in the mempool pays enough.
    pub(super) cost: Amount,
    /// Whether the network does not have it.
    pub(super) is_absent: bool,
}

/// What is left of one exit.
pub(super) struct Rest {
    /// The transactions that have to confirm, from the top.
    pub(super) unconfirmed: Vec<Unconfirmed>,
    /// The height at which the last of those that are confirmed is.
    pub(super) confirmed_at: Option<BlockHeight>,
}

impl Rest {
    /// What it costs, without what other exits share.
    pub(super) fn cost(&self) -> Amount {
        self.unconfirmed.iter().map(|it| it.cost).sum()
    }
}

impl<'w> Standing<'w> {
    /// The costs are for this fee rate.
    pub(super) fn new(wallet: &'w Wallet, rate: FeeRate) -> Standing<'w> {
        Standing {
            wallet,
            rate,
            known: HashMap::new(),
        }
    }

    /// What is left of the exit of a VTXO.
    ///
    /// # Errors
    /// `chain_unavailable`.
    pub(super) async fn of(&mut self, vtxo: &Vtxo<Full>) -> Result<Rest> {
        let mut rest = Rest {
            unconfirmed: Vec::new(),
            confirmed_at: None,
        };
        let mut above_is_absent = false;
        for item in vtxo.transactions() {
            let txid = item.tx.compute_txid();
            // The network cannot have a transaction whose parent it does not have.
            let status = match above_is_absent {
                true => Status::NotFound,
                false => self.status(txid, &item.tx).await?,
            };
            if let Status::Confirmed(height) = status {
                rest.confirmed_at = Some(height);
                continue;
            }
            above_is_absent = matches!(status, Status::NotFound);
            rest.unconfirmed.push(Unconfirmed {
                txid,
                cost: self.cost(&item.tx, status),
                is_absent: above_is_absent,
            });
        }
        Ok(rest)
    }

    async fn status(&mut self, txid: Txid, transaction: &Transaction) -> Result<Status> {
        if let Some(known) = self.known.get(&txid) {
            return Ok(*known);
        }
        let chain = &self.wallet.chain;
        let status = match chain.status(txid).await? {
            TxStatus::Confirmed { height, .. } => Status::Confirmed(height),
            TxStatus::NotFound => Status::NotFound,
            TxStatus::Mempool => {
                let child = match transaction.fee_anchor() {
                    Some((anchor, _)) => chain.spender(anchor).await?,
                    None => None,
                };
                let last = child.map_or(txid, |child| child.txid);
                Status::Mempool(chain.mempool_package(last).await?)
            }
        };
        self.known.insert(txid, status);
        Ok(status)
    }

    fn cost(&self, transaction: &Transaction, status: Status) -> Amount {
        let fresh = package_fee(transaction.weight(), CHILD_WEIGHT, self.rate);
        let fresh = fresh.unwrap_or(Amount::MAX_MONEY).min(Amount::MAX_MONEY);
        match status {
            Status::Confirmed(_) => Amount::ZERO,
            Status::Mempool(Some(package)) if package.pays(self.rate) => Amount::ZERO,
            Status::Mempool(Some(package)) => {
                let relay = package_fee(transaction.weight(), CHILD_WEIGHT, RELAY_RATE);
                let least = relay.and_then(|relay| package.fee.checked_add(relay));
                fresh.max(least.unwrap_or(Amount::MAX_MONEY))
            }
            Status::Mempool(None) | Status::NotFound => fresh,
        }
    }
}
