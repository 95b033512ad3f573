//! Finished rounds.

use anyhow::Context;
use ark_lib::ProtocolEncoding;
use ark_lib::tree::signed::SignedVtxoTreeSpec;
use bitcoin::hashes::Hash;
use bitcoin::{Transaction, Txid};
use rusqlite::{OptionalExtension, params};

use super::{Store, TxKind, tx};

/// A finished round.
#[derive(Debug)]
pub struct Round {
    /// Pays the tree. Like a real server, it is stored before it is signed, so it may have no signatures yet.
    pub funding_tx: Transaction,
    /// The tree with the signatures of all its inner nodes.
    pub tree: SignedVtxoTreeSpec,
}

impl Store {
    /// The round that this transaction funds.
    pub fn round(&self, txid: Txid) -> anyhow::Result<Option<Round>> {
        let tree: Option<Vec<u8>> = self
            .lock()
            .query_row(
                "SELECT tree FROM round WHERE txid = ?1",
                [txid.to_byte_array()],
                |row| row.get(0),
            )
            .optional()?;
        let Some(tree) = tree else { return Ok(None) };
        Ok(Some(Round {
            funding_tx: self.signed_tx(txid)?.context("round without funding")?,
            tree: SignedVtxoTreeSpec::deserialize(&tree).context("stored tree is broken")?,
        }))
    }
}

/// Adds a round and its funding transaction.
pub fn insert(db: &rusqlite::Transaction<'_>, seq: u64, round: &Round) -> anyhow::Result<()> {
    tx::insert_signed(db, TxKind::RoundFunding, &round.funding_tx)?;
    db.execute(
        "INSERT INTO round (txid, seq, tree) VALUES (?1, ?2, ?3)",
        params![
            round.funding_tx.compute_txid().to_byte_array(),
            seq,
            round.tree.serialize()
        ],
    )?;
    Ok(())
}
