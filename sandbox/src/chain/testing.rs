//! A chain with a key that owns its coins, for the unit tests of this folder.

use std::path::PathBuf;
use std::time::Duration;

use bitcoin::{
    Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute, transaction,
};

use super::sim::Sim;
use super::{AutoMine, ChainConfig, FeeRates};
use crate::coin_wallet::CoinKey;

pub(crate) const SAT_PER_VB: FeeRate = FeeRate::from_sat_per_kwu(250);

/// A chain in RAM (or in `dir`) that mines only when asked, to this script.
pub(crate) fn config(dir: Option<PathBuf>, coinbase_script: ScriptBuf) -> ChainConfig {
    ChainConfig {
        dir,
        coinbase_script,
        min_relay_fee: SAT_PER_VB,
        auto_mine: AutoMine {
            on: false,
            delay: Duration::ZERO,
        },
        fee_rates: FeeRates {
            fast: SAT_PER_VB,
            regular: SAT_PER_VB,
            slow: SAT_PER_VB,
        },
    }
}

pub(super) struct Lab {
    pub(super) sim: Sim,
    pub(super) key: CoinKey,
}

impl Lab {
    pub(super) fn new() -> Lab {
        Lab::at(None)
    }

    /// A lab of at least 120 blocks.
    pub(super) fn at(dir: Option<PathBuf>) -> Lab {
        let key = CoinKey::derive(&[7; 32], "lab");
        let sim = Sim::open(config(dir, key.script())).unwrap();
        let mut lab = Lab { sim, key };
        while lab.sim.view.ledger.height() < 120 {
            lab.sim.mine_block().unwrap();
        }
        lab
    }

    /// The coin mined at a height: 50 bitcoin, mature up to height 21.
    pub(super) fn coin(&self, height: u32) -> OutPoint {
        OutPoint {
            txid: self.sim.view.ledger.at(height).unwrap().block.txdata[0].compute_txid(),
            vout: 0,
        }
    }

    pub(super) fn own(&self, sat: u64) -> TxOut {
        TxOut {
            value: Amount::from_sat(sat),
            script_pubkey: self.key.script(),
        }
    }

    /// A signed transaction; `parents` hold outputs that the chain does not know.
    pub(super) fn sign(&self, tx: Transaction, parents: &[&Transaction]) -> Transaction {
        let spent: Vec<TxOut> = tx
            .input
            .iter()
            .map(|input| {
                let OutPoint { txid, vout } = input.previous_output;
                let parent = parents
                    .iter()
                    .find(|parent| parent.compute_txid() == txid)
                    .copied();
                parent.or_else(|| self.sim.view.tx(&txid)).unwrap().output[vout as usize].clone()
            })
            .collect();
        self.key.sign(tx, &spent).unwrap()
    }

    /// A signed transaction that spends outputs of the chain.
    pub(super) fn spend(
        &self,
        version: i32,
        inputs: &[OutPoint],
        outputs: Vec<TxOut>,
    ) -> Transaction {
        self.sign(unsigned(version, inputs, outputs), &[])
    }

    /// A transaction of version 3 without fee, with one output to the key and an empty anchor.
    pub(super) fn exit(&self, coin: OutPoint) -> Transaction {
        let value = self.sim.view.tx(&coin.txid).unwrap().output[coin.vout as usize]
            .value
            .to_sat();
        self.spend(3, &[coin], vec![self.own(value), anchor(0)])
    }

    /// A child of version 3 that spends the anchor of `parent` and a coin, and pays this fee.
    pub(super) fn child(&self, parent: &Transaction, coin: OutPoint, fee: u64) -> Transaction {
        let value = self.sim.view.tx(&coin.txid).unwrap().output[coin.vout as usize]
            .value
            .to_sat();
        let tx = unsigned(
            3,
            &[output_of(parent, 1), coin],
            vec![self.own(value - fee)],
        );
        self.sign(tx, &[parent])
    }

    pub(super) fn submit(&mut self, tx: &Transaction) -> Result<Txid, String> {
        self.sim.submit(tx).map_err(|reject| reject.reason)
    }
}

pub(crate) fn unsigned(version: i32, inputs: &[OutPoint], output: Vec<TxOut>) -> Transaction {
    let input = inputs.iter().map(|previous_output| TxIn {
        previous_output: *previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    });
    Transaction {
        version: transaction::Version(version),
        lock_time: absolute::LockTime::ZERO,
        input: input.collect(),
        output,
    }
}

pub(crate) fn output_of(tx: &Transaction, vout: u32) -> OutPoint {
    OutPoint {
        txid: tx.compute_txid(),
        vout,
    }
}

pub(crate) fn anchor(sat: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(sat),
        script_pubkey: ScriptBuf::new_p2a(),
    }
}
