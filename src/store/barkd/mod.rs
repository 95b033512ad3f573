//! The database of barkd 0.8.0, of which a wallet is taken over (docs/protocol.md §21.8). Its tables are facts of that program.

mod history;
mod lightning;
mod under_way;

use std::path::Path;
use std::str::FromStr;

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{BlockHash, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use chrono::{DateTime, NaiveDateTime, Utc};
use rusqlite::{Connection, OpenFlags};

use super::Error;
use super::wallet::WalletRow;
use crate::model::{Movement, VtxoState};

pub use lightning::{OpenReceive, PaidInvoice, SettledReceive};

/// The version of the schema of barkd 0.8.0.
pub const SCHEMA: i64 = 42;

/// A VTXO of barkd.
#[derive(Debug)]
pub struct BarkdVtxo {
    /// With its exit chain.
    pub vtxo: Vtxo<Full>,
    /// Its state.
    pub state: VtxoState,
    /// Whether its id is in the recovery mailbox, and its exit chain with the server.
    pub registered: bool,
    /// Whether it was exited, and its output claimed.
    pub claimed: bool,
}

/// What barkd knows of the chain for its on-chain wallet.
#[derive(Debug, Default)]
pub struct BarkdChain {
    /// Blocks by height.
    pub blocks: Vec<(u32, BlockHash)>,
    /// Transactions.
    pub transactions: Vec<Transaction>,
    /// When unconfirmed transactions were first seen, last seen, and last found missing, in unix seconds.
    pub sightings: Vec<(Txid, [Option<u64>; 3])>,
    /// Outputs that the transactions spend.
    pub outputs: Vec<(OutPoint, TxOut)>,
    /// Confirmations: transaction, height, block, and its time in unix seconds.
    pub confirmations: Vec<(Txid, u32, BlockHash, u64)>,
    /// The index of the last address that was given out.
    pub last_address: Option<u32>,
}

/// A wallet of barkd.
pub struct BarkdWallet {
    /// Whose it is.
    pub identity: WalletRow,
    /// The checkpoint of the last mailbox message that was processed.
    pub cursor: u64,
    /// The revealed VTXO keys by index.
    pub keys: Vec<(u32, PublicKey)>,
    /// The VTXOs in every state.
    pub vtxos: Vec<BarkdVtxo>,
    /// The history, oldest first.
    pub movements: Vec<Movement>,
    /// The Lightning invoices that were paid.
    pub paid: Vec<PaidInvoice>,
    /// The Lightning payments that were received.
    pub received: Vec<SettledReceive>,
    /// The Lightning invoices that may still be paid.
    pub open: Vec<OpenReceive>,
    /// The on-chain wallet.
    pub chain: BarkdChain,
}

/// The version of barkd's schema in a file; `None` if the file is not a database of barkd. Changes neither the file nor its folder.
///
/// # Errors
/// SQLite's own error, if the file is a database of barkd and cannot be read.
pub fn schema(path: &Path) -> Result<Option<i64>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    // Without this, SQLite would make files beside one in WAL mode.
    let uri = format!("file:{}?immutable=1", escaped(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    let has = |table: &str| connection.table_exists(None, table);
    if !(has("bark_properties").unwrap_or(false) && has("migrations")?) {
        return Ok(None);
    }
    Ok(connection.query_row("SELECT max(value) FROM migrations", [], |row| row.get(0))?)
}

fn escaped(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23")
}

/// What barkd has not brought to an end, one line each. An invoice that nobody has paid is not among it: any program with the wallet's
/// keys and the preimage can wait for its payment.
///
/// # Errors
/// SQLite's own error.
pub fn under_way(connection: &Connection) -> Result<Vec<String>, Error> {
    under_way::list(connection)
}

/// The kinds of movements in the history that arkwalletd does not have.
///
/// # Errors
/// SQLite's own error.
pub fn unknown_kinds(connection: &Connection) -> Result<Vec<String>, Error> {
    history::unknown_kinds(connection)
}

/// Reads a wallet that has nothing under way.
///
/// # Errors
/// [`Error::Corrupt`] for a value that cannot be used, and SQLite's own error.
pub fn read(connection: &Connection) -> Result<BarkdWallet, Error> {
    Ok(BarkdWallet {
        identity: identity(connection)?,
        cursor: connection.query_row(
            "SELECT coalesce(max(checkpoint), 0) FROM bark_mailbox_checkpoint",
            [],
            |row| row.get(0),
        )?,
        keys: keys(connection)?,
        vtxos: vtxos(connection)?,
        movements: history::movements(connection)?,
        paid: lightning::paid(connection)?,
        received: lightning::received(connection)?,
        open: lightning::open(connection)?,
        chain: chain(connection)?,
    })
}

fn identity(connection: &Connection) -> Result<WalletRow, Error> {
    type Columns = (String, String, Option<String>, Option<String>);
    let (network, fingerprint, server, mailbox): Columns = connection.query_row(
        "SELECT network, fingerprint, server_pubkey, server_mailbox_pubkey FROM bark_properties",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let server_keys = match (server, mailbox) {
        (Some(server), Some(mailbox)) => Some((
            parse("server key", &server)?,
            parse("server key", &mailbox)?,
        )),
        _ => None,
    };
    Ok(WalletRow {
        network: parse("network", &network)?,
        fingerprint: parse("fingerprint", &fingerprint)?,
        server_keys,
    })
}

fn keys(connection: &Connection) -> Result<Vec<(u32, PublicKey)>, Error> {
    let mut statement =
        connection.prepare("SELECT idx, public_key FROM bark_vtxo_key ORDER BY idx")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (index, key) = row?;
        Ok((index, parse("key", &key)?))
    })
    .collect()
}

fn vtxos(connection: &Connection) -> Result<Vec<BarkdVtxo>, Error> {
    let mut statement = connection.prepare(
        "SELECT v.id, v.raw_bare, v.raw_genesis, v.registered, s.state_kind,
             EXISTS (SELECT 1 FROM bark_exit_states e WHERE e.vtxo_id = v.id AND json_extract(CAST(e.state AS TEXT), '$.type') = 'claimed')
         FROM bark_vtxo v JOIN bark_vtxo_state s ON s.vtxo_id = v.id
         WHERE s.id = (SELECT max(id) FROM bark_vtxo_state WHERE vtxo_id = v.id) ORDER BY v.id",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: VtxoId = parse("VTXO id", &row.get::<_, String>(0)?)?;
        let (bare, genesis): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let vtxo = Vtxo::<Full>::deserialize_with_genesis(&bare, &genesis)
            .map_err(|error| Error::corrupt("VTXO", error))?;
        if vtxo.id() != id {
            return Err(Error::corrupt("VTXO", format!("{id} is {}", vtxo.id())));
        }
        let kind: String = row.get(4)?;
        let state = match kind.as_str() {
            "Spendable" => VtxoState::Spendable,
            "Locked" => VtxoState::Locked(None),
            "Spent" => VtxoState::Spent,
            "Exited" => VtxoState::Exited,
            other => return Err(Error::corrupt("VTXO state", other)),
        };
        found.push(BarkdVtxo {
            vtxo,
            state,
            registered: row.get(3)?,
            claimed: row.get(5)?,
        });
    }
    let rows: usize =
        connection.query_row("SELECT count(*) FROM bark_vtxo", [], |row| row.get(0))?;
    if rows != found.len() {
        return Err(Error::corrupt("VTXO", "one has no state"));
    }
    Ok(found)
}

fn chain(connection: &Connection) -> Result<BarkdChain, Error> {
    let mut chain = BarkdChain::default();
    if !connection.table_exists(None, "bdk_wallet")? {
        return Ok(chain);
    }
    let mut statement = connection.prepare("SELECT block_height, block_hash FROM bdk_blocks")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let hash: BlockHash = parse("block hash", &row.get::<_, String>(1)?)?;
        chain.blocks.push((row.get(0)?, hash));
    }
    let mut statement = connection
        .prepare("SELECT txid, raw_tx, first_seen, last_seen, last_evicted FROM bdk_txs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let txid = parse("transaction id", &row.get::<_, String>(0)?)?;
        if let Some(raw) = row.get::<_, Option<Vec<u8>>>(1)? {
            let transaction = bitcoin::consensus::encode::deserialize(&raw)
                .map_err(|error| Error::corrupt("on-chain transaction", error))?;
            chain.transactions.push(transaction);
        }
        let seen = [row.get(2)?, row.get(3)?, row.get(4)?];
        chain.sightings.push((txid, seen));
    }
    let mut statement = connection.prepare("SELECT txid, vout, value, script FROM bdk_txouts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let txid = parse("transaction id", &row.get::<_, String>(0)?)?;
        let output = TxOut {
            value: bitcoin::Amount::from_sat(row.get(2)?),
            script_pubkey: ScriptBuf::from_bytes(row.get(3)?),
        };
        chain
            .outputs
            .push((OutPoint::new(txid, row.get(1)?), output));
    }
    let mut statement = connection
        .prepare("SELECT txid, block_height, block_hash, confirmation_time FROM bdk_anchors")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let txid = parse("transaction id", &row.get::<_, String>(0)?)?;
        let hash = parse("block hash", &row.get::<_, String>(2)?)?;
        let time: i64 = row.get(3)?;
        let time = u64::try_from(time).unwrap_or_default();
        chain.confirmations.push((txid, row.get(1)?, hash, time));
    }
    chain.last_address = connection.query_row(
        "SELECT max(last_revealed) FROM bdk_descriptor_last_revealed",
        [],
        |row| row.get(0),
    )?;
    Ok(chain)
}

fn parse<T: FromStr>(what: &'static str, text: &str) -> Result<T, Error>
where
    T::Err: ToString,
{
    text.parse()
        .map_err(|error: T::Err| Error::corrupt(what, error.to_string()))
}

/// A time, with or without an offset.
fn moment(text: &str) -> Result<DateTime<Utc>, Error> {
    let with_offset = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z");
    let without = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f");
    match with_offset {
        Ok(time) => Ok(time.to_utc()),
        Err(_) => without()
            .map(|time| time.and_utc())
            .map_err(|_| Error::corrupt("time", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_an_offset() {
        let expected = 1_795_311_986_444;
        for text in [
            "2026-11-22 01:46:26.444",
            "2026-11-22 01:46:26.444461+00:00",
            "2026-11-22 02:46:26.444+01:00",
        ] {
            assert_eq!(moment(text).unwrap().timestamp_millis(), expected);
        }
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn only_a_database_of_barkd_has_a_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d#b?.sqlite");
        assert_eq!(schema(&path).unwrap(), None);
        std::fs::write(&path, "no database").unwrap();
        assert_eq!(schema(&path).unwrap(), None);
        std::fs::remove_file(&path).unwrap();
        let connection = Connection::open(&path).unwrap();
        let tables = "CREATE TABLE bark_properties (id); CREATE TABLE migrations (value INTEGER);
                      INSERT INTO migrations VALUES (41), (42)";
        connection.execute_batch(tables).unwrap();
        assert_eq!(schema(&path).unwrap(), Some(42));
    }
}
