//! The revealed VTXO keys (docs/protocol.md §1.3).

use bitcoin::secp256k1::PublicKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, WriteTx};

/// The index of the next key to reveal.
pub fn next_index(connection: &Connection) -> Result<u32, Error> {
    Ok(connection
        .prepare_cached("SELECT coalesce(max(key_index) + 1, 0) FROM vtxo_key")?
        .query_row([], |row| row.get(0))?)
}

/// Stores a key under its index.
pub fn insert(tx: &WriteTx<'_>, index: u32, pubkey: &PublicKey) -> Result<(), Error> {
    tx.prepare_cached("INSERT INTO vtxo_key (key_index, pubkey) VALUES (?1, ?2)")?
        .execute(params![index, pubkey.serialize()])?;
    Ok(())
}

/// The index of a revealed key; `None` when the key is unknown.
pub fn index_of(connection: &Connection, pubkey: &PublicKey) -> Result<Option<u32>, Error> {
    Ok(connection
        .prepare_cached("SELECT key_index FROM vtxo_key WHERE pubkey = ?1")?
        .query_row([pubkey.serialize()], |row| row.get(0))
        .optional()?)
}
