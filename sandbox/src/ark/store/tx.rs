//! Transactions that the server has signed or accepted.

use anyhow::Context;
use ark_lib::VtxoId;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::{Transaction, Txid};
use rusqlite::{OptionalExtension, params};

use super::Store;

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxKind {
    /// Pays a board; on chain.
    BoardFunding,
    /// Part of a VTXO's exit path; on chain only after an exit.
    Virtual,
    /// Pays the tree of a round; on chain, made by the server.
    RoundFunding,
    /// Pays an offboard; on chain, made by the server.
    Offboard,
    /// Pays the VTXOs that Lightning receives are granted from; on chain, made by the server.
    PoolFunding,
    /// A forfeit: claims a VTXO that was forfeited, if its owner exits nevertheless.
    Forfeit,
    /// Splits the connector of an offboard; on chain only before its forfeits.
    Connector,
}

impl TxKind {
    fn as_str(self) -> &'static str {
        match self {
            TxKind::BoardFunding => "board-funding",
            TxKind::Virtual => "virtual",
            TxKind::RoundFunding => "round-funding",
            TxKind::Offboard => "offboard",
            TxKind::PoolFunding => "pool-funding",
            TxKind::Forfeit => "forfeit",
            TxKind::Connector => "connector",
        }
    }
}

impl Store {
    /// The signed transaction, if it was uploaded.
    pub fn signed_tx(&self, txid: Txid) -> anyhow::Result<Option<Transaction>> {
        let body: Option<Vec<u8>> = self
            .lock()
            .query_row(
                "SELECT body FROM tx WHERE txid = ?1",
                [txid.to_byte_array()],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        body.map(|bytes| deserialize(&bytes).context("stored transaction is broken"))
            .transpose()
    }

    /// The signed transaction that spends a VTXO off chain, if the server has it.
    pub fn next_tx(&self, id: VtxoId) -> anyhow::Result<Option<Transaction>> {
        let kinds = [TxKind::Virtual, TxKind::Forfeit].map(TxKind::as_str);
        let body: Option<Vec<u8>> = self
            .lock()
            .query_row(
                "SELECT body FROM tx_input JOIN tx USING (txid)
                 WHERE tx_input.vtxo = ?1 AND kind IN (?2, ?3)",
                params![id.to_bytes(), kinds[0], kinds[1]],
                |row| row.get(0),
            )
            .optional()?;
        body.map(|bytes| deserialize(&bytes).context("stored transaction is broken"))
            .transpose()
    }

    /// The signed connector transaction with this id.
    pub fn connector_tx(&self, txid: Txid) -> anyhow::Result<Option<Transaction>> {
        self.signed_tx_of(txid, TxKind::Connector)
    }

    /// The transactions that the server broadcasts, oldest first.
    pub fn txs_to_broadcast(&self) -> anyhow::Result<Vec<Txid>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT txid FROM tx WHERE kind IN (?1, ?2, ?3) AND NOT withheld ORDER BY rowid",
        )?;
        let kinds = [TxKind::RoundFunding, TxKind::Offboard, TxKind::PoolFunding];
        let kinds = kinds.map(TxKind::as_str);
        let txids = statement.query_map(kinds, |row| Ok(Txid::from_byte_array(row.get(0)?)))?;
        Ok(txids.collect::<Result<_, _>>()?)
    }

    /// Keeps a transaction from being broadcast by the server.
    pub fn withhold_tx(&self, txid: Txid) -> anyhow::Result<()> {
        self.lock().execute(
            "UPDATE tx SET withheld = 1 WHERE txid = ?1",
            [txid.to_byte_array()],
        )?;
        Ok(())
    }

    /// Undoes [`withhold_tx`](Self::withhold_tx) for all transactions.
    pub fn release_withheld(&self) -> anyhow::Result<()> {
        self.lock().execute("UPDATE tx SET withheld = 0", [])?;
        Ok(())
    }

    /// The signed transaction of a finished offboard.
    pub fn offboard_tx(&self, txid: Txid) -> anyhow::Result<Option<Transaction>> {
        self.signed_tx_of(txid, TxKind::Offboard)
    }

    fn signed_tx_of(&self, txid: Txid, kind: TxKind) -> anyhow::Result<Option<Transaction>> {
        let is_of_kind: bool = self.lock().query_row(
            "SELECT EXISTS (SELECT 1 FROM tx WHERE txid = ?1 AND kind = ?2)",
            params![txid.to_byte_array(), kind.as_str()],
            |row| row.get(0),
        )?;
        if is_of_kind {
            self.signed_tx(txid)
        } else {
            Ok(None)
        }
    }

    /// Whether this is one of the transactions that only exist off chain.
    pub fn is_virtual_tx(&self, txid: Txid) -> anyhow::Result<bool> {
        Ok(self.lock().query_row(
            "SELECT EXISTS (SELECT 1 FROM tx WHERE txid = ?1 AND kind = ?2)",
            params![txid.to_byte_array(), TxKind::Virtual.as_str()],
            |row| row.get(0),
        )?)
    }
}

/// Records that a transaction with this id was cosigned. A signed form that is stored already is kept.
pub fn insert_unsigned(
    tx: &rusqlite::Transaction<'_>,
    kind: TxKind,
    txid: Txid,
) -> anyhow::Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO tx (txid, kind) VALUES (?1, ?2)",
        params![txid.to_byte_array(), kind.as_str()],
    )?;
    Ok(())
}

/// Stores the signed form of a transaction.
pub fn insert_signed(
    tx: &rusqlite::Transaction<'_>,
    kind: TxKind,
    signed: &Transaction,
) -> anyhow::Result<()> {
    tx.execute(
        "INSERT INTO tx (txid, kind, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (txid) DO UPDATE SET body = excluded.body",
        params![
            signed.compute_txid().to_byte_array(),
            kind.as_str(),
            serialize(signed)
        ],
    )?;
    for input in &signed.input {
        tx.execute(
            "INSERT OR IGNORE INTO tx_input (vtxo, txid) VALUES (?1, ?2)",
            params![
                VtxoId::from(input.previous_output).to_bytes(),
                signed.compute_txid().to_byte_array()
            ],
        )?;
    }
    Ok(())
}
