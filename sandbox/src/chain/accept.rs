//! How a single transaction enters the mempool: consensus rules, then the policy of a node with default settings.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Txid, Wtxid};

use super::consensus::{self, Coin};
use super::sim::Sim;
use super::standard::{self, fee_at};
use super::truc::{self, Subject, Verdict};
use super::{Accepted, Reject, replace};

const MAX_ANCESTORS: usize = 25;
const MAX_DESCENDANTS: usize = 25;

/// A transaction that is valid and standard by itself, with the data for the checks of fee and ancestors.
pub(super) struct Candidate {
    pub(super) tx: Transaction,
    pub(super) txid: Txid,
    pub(super) wtxid: Wtxid,
    pub(super) fee: Amount,
    pub(super) vsize: u64,
    pub(super) coins: Vec<Coin>,
    /// Entries that spend the same outputs.
    pub(super) conflicts: BTreeSet<Txid>,
    /// Entries that it depends on.
    pub(super) ancestors: BTreeSet<Txid>,
}

impl Candidate {
    pub(super) fn check_scripts(&self) -> Result<(), Reject> {
        let spent: Vec<&TxOut> = self.coins.iter().map(|coin| &coin.output).collect();
        consensus::check_scripts(&self.tx, &spent)
    }

    fn output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        (self.txid == outpoint.txid)
            .then(|| self.tx.output.get(outpoint.vout as usize))
            .flatten()
    }
}

impl Sim {
    /// Adds a single transaction to the mempool; returns the transactions that it replaced.
    pub(super) fn accept(&mut self, tx: &Transaction) -> Result<(Accepted, Vec<Txid>), Reject> {
        let mut candidate = self.examine(tx, &[])?;
        self.check_relay_fee(&candidate)?;
        self.check_chain_length(std::slice::from_ref(&candidate))?;
        let subject = Subject {
            tx,
            vsize: candidate.vsize,
            ancestors: &candidate.ancestors,
            conflicts: &candidate.conflicts,
        };
        if let Verdict::Evicts(sibling) = truc::check(&self.view.mempool, &subject)? {
            candidate.conflicts.insert(sibling);
        }
        check_disjoint(&candidate)?;
        if !candidate.conflicts.is_empty() {
            let paid = (candidate.fee, candidate.vsize);
            replace::check_single(
                &self.view.mempool,
                tx,
                paid,
                &candidate.conflicts,
                self.min_relay_fee,
            )?;
        }
        self.check_dust_spent(&candidate, &[])?;
        candidate.check_scripts()?;

        let rate = FeeRate::from_sat_per_kwu(standard::rate_of(candidate.fee, candidate.vsize) / 4);
        let accepted = Accepted {
            vsize: candidate.vsize,
            fee: candidate.fee,
            effective: Some((rate, vec![candidate.wtxid])),
            other_wtxid: None,
        };
        Ok((accepted, self.admit(candidate)))
    }

    /// Adds a checked transaction, and removes and returns the transactions that it conflicts with.
    pub(super) fn admit(&mut self, candidate: Candidate) -> Vec<Txid> {
        let replaced: Vec<Txid> = candidate
            .conflicts
            .iter()
            .flat_map(|txid| self.view.mempool.remove_with_descendants(txid))
            .collect();
        self.view.mempool.insert(
            candidate.txid,
            candidate.tx,
            candidate.fee,
            candidate.vsize,
            candidate.coins,
        );
        replaced
    }

    /// Adds a transaction that was accepted before, after a restart or a reorganisation. Only the consensus rules are checked.
    pub(super) fn readmit(&mut self, tx: &Transaction) -> Result<(), Reject> {
        consensus::check_structure(tx)?;
        let (coins, fee) = self.find_coins(tx, &[])?;
        let spent: Vec<&TxOut> = coins.iter().map(|coin| &coin.output).collect();
        if tx
            .input
            .iter()
            .any(|input| self.view.mempool.spender(&input.previous_output).is_some())
        {
            return Err(Reject::missing_inputs());
        }
        consensus::check_scripts(tx, &spent)?;
        let vsize = standard::virtual_size(tx, &spent)?;
        self.view
            .mempool
            .insert(tx.compute_txid(), tx.clone(), fee, vsize, coins);
        Ok(())
    }

    /// Checks everything but fee, ancestors and scripts. `package` are the transactions before it in its package.
    pub(super) fn examine(
        &self,
        tx: &Transaction,
        package: &[Candidate],
    ) -> Result<Candidate, Reject> {
        consensus::check_structure(tx)?;
        if tx.is_coinbase() {
            return Err(Reject::invalid("coinbase"));
        }
        standard::check_shape(tx)?;
        let (coins, fee) = self.find_coins(tx, package)?;
        let spent: Vec<&TxOut> = coins.iter().map(|coin| &coin.output).collect();
        standard::check_inputs(tx, &spent)?;
        let vsize = standard::virtual_size(tx, &spent)?;
        standard::check_highest_fee(fee, vsize)?;
        if fee > Amount::ZERO && tx.output.iter().any(standard::is_dust) {
            return Err(Reject::invalid("dust, tx with dust output must be 0-fee"));
        }
        let spenders = tx
            .input
            .iter()
            .filter_map(|input| self.view.mempool.spender(&input.previous_output));
        Ok(Candidate {
            txid: tx.compute_txid(),
            wtxid: tx.compute_wtxid(),
            fee,
            vsize,
            conflicts: spenders.map(|(txid, _)| txid).collect(),
            ancestors: self.view.mempool.ancestors(tx),
            tx: tx.clone(),
            coins,
        })
    }

    /// The coins that a transaction spends and its fee, if its lock times allow it in the next block.
    fn find_coins(
        &self,
        tx: &Transaction,
        package: &[Candidate],
    ) -> Result<(Vec<Coin>, Amount), Reject> {
        let place = self.view.ledger.next_place();
        consensus::check_lock_time(tx, &place)?;
        let unconfirmed = |outpoint: &OutPoint| {
            let output = package.iter().find_map(|earlier| earlier.output(outpoint));
            let output = output.or_else(|| self.view.mempool.output(outpoint))?;
            Some(Coin {
                output: output.clone(),
                height: place.height,
                coinbase: false,
            })
        };
        let mut coins = Vec::with_capacity(tx.input.len());
        for input in &tx.input {
            let outpoint = input.previous_output;
            match unconfirmed(&outpoint).or_else(|| self.view.ledger.coin(&outpoint).cloned()) {
                Some(coin) => coins.push(coin),
                None if self.is_mined(tx) => return Err(Reject::invalid("txn-already-known")),
                None => return Err(Reject::missing_inputs()),
            }
        }
        consensus::check_sequence_locks(tx, &coins, &place, |height| {
            self.view.ledger.median_time(height)
        })?;
        let fee = consensus::check_amounts(tx, &coins, place.height)?;
        Ok((coins, fee))
    }

    /// Whether the chain holds an unspent output of the transaction, which is all that a node without a transaction index knows.
    fn is_mined(&self, tx: &Transaction) -> bool {
        let txid = tx.compute_txid();
        (0..)
            .take(tx.output.len())
            .any(|vout| self.view.ledger.coin(&OutPoint { txid, vout }).is_some())
    }

    fn check_relay_fee(&self, candidate: &Candidate) -> Result<(), Reject> {
        let (fee, vsize) = (candidate.fee, candidate.vsize);
        // Only a transaction of version 3 may rely on a child: any other could lose its child and stay in the mempool without it.
        if !truc::applies(&candidate.tx) {
            check_floor("min relay fee not met", fee, vsize, self.min_relay_fee)
                .map_err(Reject::invalid)?;
        }
        self.check_fee(fee, vsize)
    }

    /// Checks the fee of a transaction or a package against the floors of the mempool.
    pub(super) fn check_fee(&self, fee: Amount, vsize: u64) -> Result<(), Reject> {
        check_floor("mempool min fee not met", fee, vsize, self.min_mempool_fee)
            .and_then(|()| check_floor("min relay fee not met", fee, vsize, self.min_relay_fee))
            .map_err(Reject::fee)
    }

    /// Checks the limits of ancestors and descendants. The transactions of `new` may depend on each other.
    pub(super) fn check_chain_length(&self, new: &[Candidate]) -> Result<(), Reject> {
        let ancestors: BTreeSet<&Txid> = new
            .iter()
            .flat_map(|candidate| &candidate.ancestors)
            .collect();
        if ancestors.len() + new.len() > MAX_ANCESTORS {
            return Err(Reject::invalid(format!(
                "too-long-mempool-chain, too many unconfirmed ancestors [limit: {MAX_ANCESTORS}]"
            )));
        }
        for ancestor in ancestors {
            if self.view.mempool.descendants(ancestor).len() + 1 + new.len() > MAX_DESCENDANTS {
                return Err(Reject::invalid(format!(
                    "too-long-mempool-chain, too many descendants for tx {ancestor} [limit: {MAX_DESCENDANTS}]"
                )));
            }
        }
        Ok(())
    }

    /// Checks that a transaction spends the dust of each unconfirmed parent, so that no unspent dust remains.
    pub(super) fn check_dust_spent(
        &self,
        candidate: &Candidate,
        package: &[Candidate],
    ) -> Result<(), Reject> {
        let spent: BTreeSet<OutPoint> = candidate
            .tx
            .input
            .iter()
            .map(|input| input.previous_output)
            .collect();
        let parents: BTreeSet<Txid> = spent.iter().map(|outpoint| outpoint.txid).collect();
        for txid in parents {
            let in_package = package
                .iter()
                .find(|earlier| earlier.txid == txid)
                .map(|earlier| &earlier.tx);
            let Some(parent) =
                in_package.or_else(|| self.view.mempool.get(&txid).map(|entry| &entry.tx))
            else {
                continue;
            };
            let left = (0..).zip(&parent.output).any(|(vout, output)| {
                standard::is_dust(output) && !spent.contains(&OutPoint { txid, vout })
            });
            if left {
                return Err(Reject::invalid(format!(
                    "missing-ephemeral-spends, tx {} (wtxid={}) did not spend parent's ephemeral dust",
                    candidate.txid, candidate.wtxid
                )));
            }
        }
        Ok(())
    }
}

fn check_floor(reason: &str, fee: Amount, vsize: u64, rate: FeeRate) -> Result<(), String> {
    let least = fee_at(rate, vsize);
    if fee < least {
        let (fee, least) = (fee.to_sat(), least.to_sat());
        return Err(format!("{reason}, {fee} < {least}"));
    }
    Ok(())
}

/// Checks that a transaction does not spend what it replaces.
pub(super) fn check_disjoint(candidate: &Candidate) -> Result<(), Reject> {
    match candidate
        .ancestors
        .intersection(&candidate.conflicts)
        .next()
    {
        Some(conflict) => Err(Reject::invalid(format!(
            "bad-txns-spends-conflicting-tx, {} spends conflicting transaction {conflict}",
            candidate.txid
        ))),
        None => Ok(()),
    }
}
