//! The on-chain transactions that VTXOs hang from. They never change, so each is fetched from the chain once.

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{Transaction, Txid};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, WriteTx};

/// Stores an anchor transaction; storing it again changes nothing.
pub fn insert(tx: &WriteTx<'_>, transaction: &Transaction) -> Result<(), Error> {
    tx.prepare_cached("INSERT INTO anchor (txid, tx) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![
            transaction.compute_txid().to_byte_array(),
            encode::serialize(transaction)
        ])?;
    Ok(())
}

/// The anchor transaction with this id, if it was stored.
pub fn get(connection: &Connection, txid: Txid) -> Result<Option<Transaction>, Error> {
    let bytes: Option<Vec<u8>> = connection
        .prepare_cached("SELECT tx FROM anchor WHERE txid = ?1")?
        .query_row([txid.to_byte_array()], |row| row.get(0))
        .optional()?;
    bytes
        .map(|bytes| {
            encode::deserialize(&bytes).map_err(|error| Error::corrupt("anchor transaction", error))
        })
        .transpose()
}
