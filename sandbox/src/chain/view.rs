//! What can be read from a chain: its blocks, its mempool, and the questions that need both.
//!
//! The simulation keeps one of these up to date by itself; on a real node it is a copy that follows the node.

use bitcoin::hashes::sha256;
use bitcoin::{OutPoint, Transaction, TxOut, Txid};

use super::ledger::{Ledger, script_hash};
use super::mempool::{Entry, Mempool};
use super::{Spender, Unspent};

/// Blocks and mempool.
#[derive(Clone)]
pub(super) struct View {
    pub(super) ledger: Ledger,
    pub(super) mempool: Mempool,
}

impl View {
    pub(super) fn new(ledger: Ledger) -> View {
        View {
            ledger,
            mempool: Mempool::default(),
        }
    }

    /// A transaction of the mempool or the chain.
    pub(super) fn tx(&self, txid: &Txid) -> Option<&Transaction> {
        let waiting = self.mempool.get(txid).map(|entry| &entry.tx);
        waiting.or_else(|| self.ledger.tx(txid).map(|(tx, ..)| tx))
    }

    /// The input that spends an output, in the mempool or the chain.
    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Spender> {
        if let Some((txid, vin)) = self.mempool.spender(outpoint) {
            return Some(Spender {
                txid,
                vin,
                block: None,
            });
        }
        let (txid, vin) = self.ledger.spender(outpoint)?;
        let (_, height, _) = self.ledger.tx(&txid)?;
        Some(Spender {
            txid,
            vin,
            block: self.ledger.tip_at(height),
        })
    }

    /// The outputs of a script that nothing spends, the confirmed ones first, oldest first.
    pub(super) fn unspent(&self, script: &sha256::Hash) -> Vec<Unspent> {
        let mut txids = self.ledger.history(script).to_vec();
        txids.extend(self.mempool.history(script).into_iter().rev());
        let mut found = Vec::new();
        for txid in txids {
            let height = self.ledger.tx(&txid).map(|(_, height, _)| height);
            let outputs = self.tx(&txid).map_or(&[][..], |tx| &tx.output);
            for (vout, output) in (0..).zip(outputs) {
                let outpoint = OutPoint { txid, vout };
                let coin = self.ledger.coin(&outpoint);
                let exists = coin.is_some() || height.is_none();
                if script_hash(&output.script_pubkey) == *script
                    && exists
                    && self.mempool.spender(&outpoint).is_none()
                {
                    let coinbase = coin.is_some_and(|coin| coin.coinbase);
                    found.push(Unspent {
                        outpoint,
                        output: output.clone(),
                        height,
                        coinbase,
                    });
                }
            }
        }
        found
    }

    /// The outputs that a transaction of the mempool or the chain spends; none for a coinbase.
    pub(super) fn spent_by(&self, txid: &Txid) -> Vec<&TxOut> {
        self.mempool
            .get(txid)
            .map_or_else(|| self.ledger.spent_by(txid), Entry::spent)
    }
}
