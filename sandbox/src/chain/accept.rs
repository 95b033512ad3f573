//! How a single transaction enters the mempool: consensus rules, then the policy of a node with default settings.

use std::collections::BTreeSet;

use bitcoin::{Amount, OutPoint, Transaction, TxOut, Txid, Wtxid};

use super::consensus::{self, Coin};
use super::sim::Sim;
use super::standard::{self, fee_at};
use super::truc::{self, Subject, Verdict};
use super::{Accepted, Reject, RejectKind, replace};

const MAX_ANCESTORS: usize = 25;
const MAX_DESCENDANTS: usize = 25;

/// A transaction that is valid and standard by itself, with what is needed to judge its fee and its place.
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
    /// Takes a transaction into the mempool on its own merits; returns what it replaced.
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

        let rate = bitcoin::FeeRate::from_sat_per_kwu(
            standard::rate_of(candidate.fee, candidate.vsize) / 4,
        );
        let accepted = Accepted {
            vsize: candidate.vsize,
            fee: candidate.fee,
            effective: Some((rate, vec![candidate.wtxid])),
            other_wtxid: None,
        };
        Ok((accepted, self.admit(candidate)))
    }

    /// Puts an approved transaction in place of what it conflicts with, and returns what had to go.
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

    /// Takes back a transaction that was accepted before, for a restart or a reorganisation: only consensus counts.
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

    /// Checks everything but fee, place and scripts. `package` are those before it in its package.
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

    /// Whether the chain holds an unspent output of the transaction, which is all that a node without index can tell.
    fn is_mined(&self, tx: &Transaction) -> bool {
        let txid = tx.compute_txid();
        (0..)
            .take(tx.output.len())
            .any(|vout| self.view.ledger.coin(&OutPoint { txid, vout }).is_some())
    }

    fn check_relay_fee(&self, candidate: &Candidate) -> Result<(), Reject> {
        let least = fee_at(self.min_relay_fee, candidate.vsize);
        if candidate.fee >= least {
            return Ok(());
        }
        // Only version 3 may rely on a child: any other transaction could lose its child and stay behind.
        let kind = if truc::applies(&candidate.tx) {
            RejectKind::Fee
        } else {
            RejectKind::Invalid
        };
        let reason = format!(
            "min relay fee not met, {} < {}",
            candidate.fee.to_sat(),
            least.to_sat()
        );
        Err(Reject { kind, reason })
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

    /// Checks that a transaction spends the dust of each unconfirmed parent, so that none stays behind.
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

#[cfg(test)]
mod tests {
    use bitcoin::opcodes::all::{OP_CHECKSIG, OP_CLTV, OP_CSV, OP_DROP};
    use bitcoin::script::Builder;
    use bitcoin::taproot::{LeafVersion, TaprootBuilder};
    use bitcoin::{ScriptBuf, Sequence, Witness, absolute};

    use super::*;
    use crate::chain::testing::{Fixture, anchor, output_of, unsigned};

    const COIN: u64 = 50 * 100_000_000;

    #[test]
    fn a_signature_by_the_wrong_key_is_refused_on_the_key_path() {
        let mut fixture = Fixture::new();
        let mut tx = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
        let mut signature = tx.input[0].witness[0].to_vec();
        signature[40] ^= 1;
        tx.input[0].witness = Witness::from_slice(&[signature]);
        assert!(
            fixture
                .submit(&tx)
                .unwrap_err()
                .starts_with("mandatory-script-verify-flag-failed")
        );
    }

    #[test]
    fn a_script_path_needs_its_conditions() {
        let mut fixture = Fixture::new();
        let secp = bitcoin::key::Secp256k1::new();
        let (internal, _) = bitcoin::key::Keypair::from_seckey_slice(&secp, &[9; 32])
            .unwrap()
            .x_only_public_key();
        let leaf = Builder::new()
            .push_int(10)
            .push_opcode(OP_CSV)
            .into_script();
        let info = TaprootBuilder::new()
            .add_leaf(0, leaf.clone())
            .unwrap()
            .finalize(&secp, internal)
            .unwrap();
        let pay = TxOut {
            value: Amount::from_sat(COIN - 1000),
            script_pubkey: ScriptBuf::new_p2tr_tweaked(info.output_key()),
        };
        let parent = fixture.spend(2, &[fixture.coin(1)], vec![pay]);
        fixture.submit(&parent).unwrap();
        fixture.sim.mine_block().unwrap();

        let control = info
            .control_block(&(leaf.clone(), LeafVersion::TapScript))
            .unwrap()
            .serialize();
        let claim = |sequence: u32, script: &ScriptBuf| {
            let mut tx = unsigned(2, &[output_of(&parent, 0)], vec![fixture.own(COIN - 2000)]);
            tx.input[0].sequence = Sequence(sequence);
            tx.input[0].witness = Witness::from_slice(&[script.as_bytes(), &control]);
            tx
        };
        let (early, late, forged) = (claim(9, &leaf), claim(10, &leaf), {
            let other = Builder::new().push_int(1).into_script();
            claim(0xffff_fffd, &other)
        });
        let undefined = claim(0xffff_fffd, &ScriptBuf::from_bytes(vec![0x50]));
        assert_eq!(
            fixture.submit(&undefined),
            Err("bad-witness-nonstandard".into())
        );
        assert!(
            fixture
                .submit(&forged)
                .unwrap_err()
                .starts_with("mandatory-script-verify-flag-failed")
        );
        assert_eq!(fixture.submit(&late), Err("non-BIP68-final".into()));
        for _ in 0..9 {
            fixture.sim.mine_block().unwrap();
        }
        assert!(
            fixture
                .submit(&early)
                .unwrap_err()
                .starts_with("mandatory-script-verify-flag-failed")
        );
        assert_eq!(fixture.submit(&late), Ok(late.compute_txid()));
    }

    #[test]
    fn a_lock_time_and_a_script_that_asks_for_it_are_kept() {
        let mut fixture = Fixture::new();
        let script = Builder::new()
            .push_int(125)
            .push_opcode(OP_CLTV)
            .push_opcode(OP_DROP)
            .push_int(1)
            .into_script();
        let pay = TxOut {
            value: Amount::from_sat(COIN - 1000),
            script_pubkey: script.to_p2wsh(),
        };
        let parent = fixture.spend(2, &[fixture.coin(1)], vec![pay]);
        fixture.submit(&parent).unwrap();
        fixture.sim.mine_block().unwrap();

        let mut tx = unsigned(2, &[output_of(&parent, 0)], vec![fixture.own(COIN - 2000)]);
        tx.input[0].witness = Witness::from_slice(&[script.as_bytes()]);
        assert!(
            fixture
                .submit(&tx)
                .unwrap_err()
                .starts_with("mandatory-script-verify-flag-failed")
        );
        tx.lock_time = absolute::LockTime::from_height(125).unwrap();
        assert_eq!(fixture.submit(&tx), Err("non-final".into()));
        while fixture.sim.view.ledger.height() < 125 {
            fixture.sim.mine_block().unwrap();
        }
        assert_eq!(fixture.submit(&tx), Ok(tx.compute_txid()));
    }

    #[test]
    fn young_coinbases_missing_inputs_and_spent_inputs_are_refused() {
        let mut fixture = Fixture::new();
        let young = fixture.spend(2, &[fixture.coin(22)], vec![fixture.own(COIN - 1000)]);
        assert!(
            fixture
                .submit(&young)
                .unwrap_err()
                .starts_with("bad-txns-premature-spend-of-coinbase")
        );

        let first = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
        let second = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - 9000)]);
        fixture.submit(&first).unwrap();
        fixture.sim.mine_block().unwrap();
        assert_eq!(
            fixture.submit(&second),
            Err("bad-txns-inputs-missingorspent".into())
        );
        assert_eq!(
            fixture.submit(&first),
            Ok(first.compute_txid()),
            "what is mined is known"
        );
    }

    #[test]
    fn dust_is_refused_unless_the_transaction_pays_no_fee() {
        let mut fixture = Fixture::new();
        let paying = fixture.spend(
            3,
            &[fixture.coin(1)],
            vec![fixture.own(COIN - 1000), anchor(0)],
        );
        assert_eq!(
            fixture.submit(&paying),
            Err("dust, tx with dust output must be 0-fee".into())
        );
        let two = fixture.spend(
            3,
            &[fixture.coin(1)],
            vec![fixture.own(COIN), anchor(0), anchor(0)],
        );
        assert_eq!(fixture.submit(&two), Err("dust".into()));
        let free = fixture.exit(fixture.coin(1));
        assert!(
            fixture
                .submit(&free)
                .unwrap_err()
                .starts_with("min relay fee not met, 0 < ")
        );
        let enough = fixture.spend(
            3,
            &[fixture.coin(1)],
            vec![fixture.own(COIN - 1000), anchor(240)],
        );
        assert_eq!(fixture.submit(&enough), Ok(enough.compute_txid()));
    }

    #[test]
    fn an_anchor_is_spent_with_an_empty_witness_only() {
        let mut fixture = Fixture::new();
        let parent = fixture.spend(
            2,
            &[fixture.coin(1)],
            vec![fixture.own(COIN - 1000 - 5000), anchor(5000)],
        );
        fixture.submit(&parent).unwrap();
        fixture.sim.mine_block().unwrap();
        let mut tx = unsigned(2, &[output_of(&parent, 1)], vec![fixture.own(4000)]);
        tx.input[0].witness = Witness::from_slice(&[[1]]);
        assert_eq!(fixture.submit(&tx), Err("bad-witness-nonstandard".into()));
        tx.input[0].witness = Witness::new();
        assert_eq!(fixture.submit(&tx), Ok(tx.compute_txid()));
    }

    #[test]
    fn a_replacement_must_pay_more_in_rate_and_in_sum() {
        let mut fixture = Fixture::new();
        let pay = |fixture: &Fixture, fee: u64| {
            fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN - fee)])
        };
        let first = pay(&fixture, 1000);
        fixture.submit(&first).unwrap();
        let same = fixture.spend(
            2,
            &[fixture.coin(1)],
            vec![fixture.own(COIN - 1000 - 400), fixture.own(400)],
        );
        assert!(
            fixture
                .submit(&same)
                .unwrap_err()
                .starts_with("insufficient fee, rejecting replacement")
        );
        let little = pay(&fixture, 1050);
        assert!(
            fixture
                .submit(&little)
                .unwrap_err()
                .contains("not enough additional fees to relay; 0.0000005 < ")
        );
        let child = fixture.spend(2, &[output_of(&first, 0)], vec![fixture.own(COIN - 9000)]);
        fixture.submit(&child).unwrap();
        let enough = pay(&fixture, 5000);
        assert!(
            fixture
                .submit(&enough)
                .unwrap_err()
                .contains("less fees than conflicting txs")
        );
        let more = pay(&fixture, 12_000);
        assert_eq!(fixture.submit(&more), Ok(more.compute_txid()));
        assert_eq!(
            fixture.sim.view.mempool.in_order(),
            [more.compute_txid()],
            "the replaced one went with its child"
        );
    }

    #[test]
    fn a_chain_of_unconfirmed_transactions_ends_at_25() {
        let mut fixture = Fixture::new();
        let mut coin = fixture.coin(1);
        for length in 1..=26 {
            let tx = fixture.spend(2, &[coin], vec![fixture.own(COIN - 1000 * length)]);
            let result = fixture.submit(&tx);
            assert_eq!(result.is_ok(), length <= 25, "{length}: {result:?}");
            coin = output_of(&tx, 0);
        }
    }

    #[test]
    fn odd_shapes_are_not_relayed() {
        let mut fixture = Fixture::new();
        let old = fixture.spend(4, &[fixture.coin(1)], vec![fixture.own(COIN - 1000)]);
        assert_eq!(fixture.submit(&old), Err("version".into()));
        let script_pubkey = Builder::new().push_opcode(OP_CHECKSIG).into_script();
        let unknown = TxOut {
            value: Amount::from_sat(COIN - 1000),
            script_pubkey,
        };
        let odd = fixture.spend(2, &[fixture.coin(1)], vec![unknown]);
        assert_eq!(fixture.submit(&odd), Err("scriptpubkey".into()));
        let burning = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN / 2)]);
        assert!(
            fixture
                .submit(&burning)
                .unwrap_err()
                .starts_with("Fee exceeds maximum")
        );
        let inflating = fixture.spend(2, &[fixture.coin(1)], vec![fixture.own(COIN + 1)]);
        assert!(
            fixture
                .submit(&inflating)
                .unwrap_err()
                .starts_with("bad-txns-in-belowout")
        );
    }
}
