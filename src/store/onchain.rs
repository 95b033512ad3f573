//! The on-chain wallet's rows: what it learned, its own fresh transactions, and the coins that operations hold.

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, Txid};
use rusqlite::{Connection, params};

use super::{Error, WriteTx};

/// One of our own transactions that no stored change contains yet.
#[derive(Clone, Debug)]
pub struct TransactionRow {
    /// Grows with each row and is never used twice.
    pub id: i64,
    /// The signed transaction.
    pub transaction: Transaction,
    /// When it was recorded, in unix seconds.
    pub recorded_at: u64,
}

/// Appends a change, in the wallet library's JSON.
pub fn insert_change(tx: &WriteTx<'_>, change: &str) -> Result<(), Error> {
    tx.prepare_cached("INSERT INTO onchain_change (change) VALUES (?1)")?
        .execute([change])?;
    Ok(())
}

/// All changes, oldest first.
pub fn changes(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT change FROM onchain_change ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Replaces all changes by one that contains them.
pub fn replace_changes(tx: &WriteTx<'_>, change: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM onchain_change", [])?;
    insert_change(tx, change)
}

/// Records one of our transactions; a second time changes nothing.
pub fn insert_transaction(
    tx: &WriteTx<'_>,
    transaction: &Transaction,
    recorded_at: u64,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO onchain_transaction (txid, body, recorded_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (txid) DO NOTHING",
    )?
    .execute(params![
        transaction.compute_txid().to_byte_array(),
        encode::serialize(transaction),
        recorded_at
    ])?;
    Ok(())
}

/// Our transactions recorded after the row `after`, oldest first.
pub fn transactions_after(
    connection: &Connection,
    after: i64,
) -> Result<Vec<TransactionRow>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, body, recorded_at FROM onchain_transaction WHERE id > ?1 ORDER BY id",
    )?;
    let rows = statement.query_map([after], |row| {
        Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?))
    })?;
    rows.map(|row| {
        let (id, body, recorded_at) = row?;
        let transaction = encode::deserialize(&body)
            .map_err(|error| Error::corrupt("on-chain transaction", error))?;
        Ok(TransactionRow {
            id,
            transaction,
            recorded_at,
        })
    })
    .collect()
}

/// Forgets the transactions up to the row `last`, because a stored change contains them now.
pub fn forget_transactions(tx: &WriteTx<'_>, last: i64) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM onchain_transaction WHERE id <= ?1")?
        .execute([last])?;
    Ok(())
}

/// Holds a coin for an operation.
///
/// # Errors
/// A coin that is held already refuses a second operation.
pub fn hold(tx: &WriteTx<'_>, outpoint: OutPoint, operation: &str) -> Result<(), Error> {
    tx.prepare_cached("INSERT INTO onchain_hold (txid, vout, operation) VALUES (?1, ?2, ?3)")?
        .execute(params![
            outpoint.txid.to_byte_array(),
            outpoint.vout,
            operation
        ])?;
    Ok(())
}

/// Holds a coin for an operation, also if another one holds it.
pub fn take_over(tx: &WriteTx<'_>, outpoint: OutPoint, operation: &str) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO onchain_hold (txid, vout, operation) VALUES (?1, ?2, ?3)
         ON CONFLICT (txid, vout) DO UPDATE SET operation = excluded.operation",
    )?
    .execute(params![
        outpoint.txid.to_byte_array(),
        outpoint.vout,
        operation
    ])?;
    Ok(())
}

/// Gives back all coins that an operation holds.
pub fn release(tx: &WriteTx<'_>, operation: &str) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM onchain_hold WHERE operation = ?1")?
        .execute([operation])?;
    Ok(())
}

/// Who holds coins.
pub fn holders(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare_cached("SELECT DISTINCT operation FROM onchain_hold")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every coin that some operation holds.
pub fn held(connection: &Connection) -> Result<Vec<OutPoint>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT txid, vout FROM onchain_hold ORDER BY txid, vout")?;
    let rows = statement.query_map([], |row| {
        Ok(OutPoint::new(
            Txid::from_byte_array(row.get(0)?),
            row.get(1)?,
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
