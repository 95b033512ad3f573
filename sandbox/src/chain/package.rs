//! Package acceptance: parents enter the mempool together with a child that pays for them.
//!
//! Each transaction is first tried alone. What fails only for its fee, or for a parent that failed for its fee, is then
//! judged by the fee rate of all of them. The answers are those of a node's `submitpackage`.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bitcoin::{Amount, FeeRate, Transaction, Txid, Wtxid};

use super::accept::{Candidate, check_disjoint};
use super::sim::Sim;
use super::standard::rate_of;
use super::truc::{self, Subject, Verdict};
use super::{Accepted, PackageOutcome, PackageTx, Reject, RejectKind, replace};

const MAX_COUNT: usize = 25;
const MAX_WEIGHT: u64 = 404_000;

/// The result of a package that was accepted as a whole.
struct Entered {
    accepted: Vec<(Wtxid, Accepted)>,
    replaced: Vec<Txid>,
}

/// A package that was refused as a whole: the message, and the transaction that is to blame with the reason.
struct Refusal {
    message: String,
    blamed: Option<(Wtxid, Reject)>,
}

impl Refusal {
    fn policy(reject: &Reject) -> Refusal {
        Refusal {
            message: reject.reason.clone(),
            blamed: None,
        }
    }

    fn replacement(why: &str) -> Refusal {
        Refusal {
            message: format!("package RBF failed: {why}"),
            blamed: None,
        }
    }

    fn of(wtxid: Wtxid, reject: Reject) -> Refusal {
        Refusal {
            message: "transaction failed".into(),
            blamed: Some((wtxid, reject)),
        }
    }
}

impl Sim {
    /// Adds a package to the mempool.
    pub(super) fn accept_package(&mut self, txs: &[Transaction]) -> PackageOutcome {
        let refused = |message: &str, results| PackageOutcome {
            message: message.into(),
            results,
            replaced: Vec::new(),
        };
        if let Err(message) = check_topology(txs) {
            return refused(message, Vec::new());
        }
        if let Err(message) = check_form(txs) {
            let not_validated = |tx: &Transaction| PackageTx {
                txid: tx.compute_txid(),
                wtxid: tx.compute_wtxid(),
                result: Err(Reject::not_validated()),
            };
            return refused(message, txs.iter().map(not_validated).collect());
        }
        let mut replaced = Vec::new();
        let mut results = Vec::with_capacity(txs.len());
        let mut open = Vec::new();
        let mut message = "success".to_string();
        for tx in txs {
            let result = match self.known(tx) {
                Some(known) => Ok(known),
                None => self.accept(tx).map(|(accepted, gone)| {
                    replaced.extend(gone);
                    accepted
                }),
            };
            if let Err(reject) = &result {
                if txs.len() > 1 && reject.kind != RejectKind::Invalid {
                    open.push(tx);
                } else {
                    message = "transaction failed".into();
                }
            }
            results.push(PackageTx {
                txid: tx.compute_txid(),
                wtxid: tx.compute_wtxid(),
                result,
            });
        }
        // A single remaining transaction was already checked alone.
        if message == "success" && open.len() == 1 {
            message = "transaction failed".into();
        }
        if message == "success" && !open.is_empty() {
            match self.accept_together(&open) {
                Ok(entered) => {
                    replaced.extend(entered.replaced);
                    for (wtxid, now) in entered.accepted {
                        set_result(&mut results, wtxid, Ok(now));
                    }
                }
                Err(refusal) => {
                    message = refusal.message;
                    if let Some((wtxid, reject)) = refusal.blamed {
                        set_result(&mut results, wtxid, Err(reject));
                    }
                }
            }
        }
        PackageOutcome {
            message,
            results,
            replaced,
        }
    }

    fn known(&self, tx: &Transaction) -> Option<Accepted> {
        let entry = self.view.mempool.get(&tx.compute_txid())?;
        let wtxid = entry.tx.compute_wtxid();
        Some(Accepted {
            vsize: entry.vsize,
            fee: entry.fee,
            effective: None,
            other_wtxid: (wtxid != tx.compute_wtxid()).then_some(wtxid),
        })
    }

    fn accept_together(&mut self, txs: &[&Transaction]) -> Result<Entered, Refusal> {
        let mut package: Vec<Candidate> = Vec::with_capacity(txs.len());
        for tx in txs {
            let candidate = self
                .examine(tx, &package)
                .map_err(|reject| Refusal::of(tx.compute_wtxid(), reject))?;
            check_disjoint(&candidate).map_err(|reject| Refusal::of(candidate.wtxid, reject))?;
            package.push(candidate);
        }
        self.check_truc(&package)
            .map_err(|reject| Refusal::policy(&reject))?;
        self.check_chain_length(&package).map_err(|_| Refusal {
            message: "package-mempool-limits".into(),
            blamed: None,
        })?;

        let fee: Amount = package.iter().map(|candidate| candidate.fee).sum();
        let vsize = package.iter().map(|candidate| candidate.vsize).sum();
        if let (Err(reject), Some(child)) = (self.check_fee(fee, vsize), package.last()) {
            return Err(Refusal::of(child.wtxid, reject));
        }
        self.check_replacement(&package, (fee, vsize))?;
        for (index, candidate) in package.iter().enumerate() {
            self.check_dust_spent(candidate, &package[..index])
                .map_err(|reject| Refusal {
                    message: "unspent-dust".into(),
                    blamed: Some((candidate.wtxid, reject)),
                })?;
        }
        for candidate in &package {
            candidate
                .check_scripts()
                .map_err(|reject| Refusal::of(candidate.wtxid, reject))?;
        }

        let rate = FeeRate::from_sat_per_kwu(rate_of(fee, vsize) / 4);
        let wtxids: Vec<Wtxid> = package.iter().map(|candidate| candidate.wtxid).collect();
        let mut accepted = Vec::new();
        let mut replaced = Vec::new();
        for candidate in package {
            let (vsize, fee) = (candidate.vsize, candidate.fee);
            let now = Accepted {
                vsize,
                fee,
                effective: Some((rate, wtxids.clone())),
                other_wtxid: None,
            };
            accepted.push((candidate.wtxid, now));
            replaced.extend(self.admit(candidate));
        }
        Ok(Entered { accepted, replaced })
    }

    fn check_truc(&self, package: &[Candidate]) -> Result<(), Reject> {
        let Some((child, parents)) = package.split_last() else {
            return Ok(());
        };
        for candidate in package {
            let Candidate {
                tx,
                vsize,
                ancestors,
                conflicts,
                ..
            } = candidate;
            match truc::check(
                &self.view.mempool,
                &Subject {
                    tx,
                    vsize: *vsize,
                    ancestors,
                    conflicts,
                },
            )? {
                Verdict::Fits => {}
                Verdict::Evicts(_) => {
                    let name = truc::name(tx);
                    return Err(Reject::invalid(format!(
                        "TRUC-violation, tx {name} would exceed descendant count limit"
                    )));
                }
            }
        }
        let unconfirmed = parents.iter().any(|parent| !parent.ancestors.is_empty())
            || !child.ancestors.is_empty();
        if truc::applies(&child.tx) && !parents.is_empty() && unconfirmed {
            let name = truc::name(&child.tx);
            return Err(Reject::invalid(format!(
                "TRUC-violation, tx {name} would have too many ancestors"
            )));
        }
        let parents: Vec<&Transaction> = parents.iter().map(|parent| &parent.tx).collect();
        truc::check_child(&child.tx, child.vsize, &parents)
    }

    fn check_replacement(
        &self,
        package: &[Candidate],
        (fee, vsize): (Amount, u64),
    ) -> Result<(), Refusal> {
        let conflicts: BTreeSet<Txid> = package
            .iter()
            .flat_map(|candidate| candidate.conflicts.clone())
            .collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        let [parent, child] = package else {
            return Err(Refusal::replacement("package must be 1-parent-1-child"));
        };
        if !parent.ancestors.is_empty() || !child.ancestors.is_empty() {
            return Err(Refusal::replacement(
                "new transaction cannot have mempool ancestors",
            ));
        }
        let replaced = replace::all_replaced(&self.view.mempool, &conflicts);
        replace::check_count(&replaced).map_err(|reject| Refusal::replacement(&reject.reason))?;
        let gone = replace::fees_of(&self.view.mempool, &replaced);
        replace::check_pays((fee, vsize), gone, self.min_relay_fee)
            .map_err(|why| Refusal::replacement(&format!("insufficient anti-DoS fees{why}")))?;
        let rate = rate_of(fee, vsize);
        if rate <= rate_of(parent.fee, parent.vsize) {
            return Err(Refusal::replacement(
                "package feerate is less than or equal to parent feerate",
            ));
        }
        let best = replaced
            .iter()
            .filter_map(|txid| self.view.mempool.get(txid))
            .map(|old| rate_of(old.fee, old.vsize))
            .max();
        if best.is_some_and(|old| rate <= old) {
            return Err(Refusal::replacement(
                "insufficient feerate: does not improve feerate diagram",
            ));
        }
        Ok(())
    }
}

fn set_result(results: &mut [PackageTx], wtxid: Wtxid, result: Result<Accepted, Reject>) {
    if let Some(slot) = results.iter_mut().find(|slot| slot.wtxid == wtxid) {
        slot.result = result;
    }
}

/// Checks the number of the transactions, and that all but the last are parents of the last and not of each other.
fn check_topology(txs: &[Transaction]) -> Result<(), &'static str> {
    let Some((child, parents)) = txs.split_last() else {
        return Err("Array must contain between 1 and 25 transactions.");
    };
    if txs.len() > MAX_COUNT {
        return Err("Array must contain between 1 and 25 transactions.");
    }
    let spends = |tx: &Transaction, parent: Txid| {
        tx.input
            .iter()
            .any(|input| input.previous_output.txid == parent)
    };
    let parent_ids: Vec<Txid> = parents.iter().map(Transaction::compute_txid).collect();
    let tree = parent_ids
        .iter()
        .all(|id| spends(child, *id) && !parents.iter().any(|parent| spends(parent, *id)));
    if tree {
        Ok(())
    } else {
        Err("package topology disallowed. not child-with-parents or parents depend on each other.")
    }
}

/// Checks that the transactions can be in one mempool.
fn check_form(txs: &[Transaction]) -> Result<(), &'static str> {
    if txs.len() > 1 && txs.iter().map(|tx| tx.weight().to_wu()).sum::<u64>() > MAX_WEIGHT {
        return Err("package-too-large");
    }
    let txids: BTreeSet<Txid> = txs.iter().map(Transaction::compute_txid).collect();
    if txids.len() < txs.len() {
        return Err("package-contains-duplicates");
    }
    let mut spent = BTreeSet::new();
    let mut inputs = txs.iter().flat_map(|tx| &tx.input);
    if inputs.all(|input| spent.insert(input.previous_output)) {
        Ok(())
    } else {
        Err("conflict-in-package")
    }
}
