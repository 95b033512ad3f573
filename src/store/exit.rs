//! Unilateral exits, the children that pay for them, and the transactions that claim their outputs (docs/protocol.md §4.9).

use ark_lib::VtxoId;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, FeeRate, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, WriteTx};
use crate::model::{ChildOrigin, ExitChild, ExitProblem, ExitRow, ExitState, OperationId};

const COLUMNS: &str = "id, vtxo, operation, state, problem, fee_rate, cancel, claim";

fn encoded(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::corrupt("exit", error))
}

fn decoded<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::corrupt("exit", error))
}

fn exit(row: &Row<'_>) -> Result<ExitRow, Error> {
    let vtxo: Vec<u8> = row.get(1)?;
    let state: String = row.get(3)?;
    let problem: Option<String> = row.get(4)?;
    let claim: Option<[u8; 32]> = row.get(7)?;
    Ok(ExitRow {
        id: row.get(0)?,
        vtxo: VtxoId::from_slice(&vtxo).map_err(|error| Error::corrupt("exit", error))?,
        operation: OperationId::from(row.get::<_, String>(2)?),
        state: decoded(&state)?,
        problem: problem.as_deref().map(decoded).transpose()?,
        fee_rate: row.get::<_, Option<u64>>(5)?.map(FeeRate::from_sat_per_kwu),
        cancel: row.get(6)?,
        claim: claim.map(Txid::from_byte_array),
    })
}

fn exits(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<ExitRow>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM exit WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(exit(row)?);
    }
    Ok(found)
}

/// Stores an exit that begins.
///
/// # Errors
/// A live exit of the same VTXO refuses another one.
pub fn insert(
    tx: &WriteTx<'_>,
    vtxo: VtxoId,
    operation: &OperationId,
    now: i64,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO exit (vtxo, operation, state, created_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        vtxo.to_bytes(),
        operation.as_str(),
        encoded(&ExitState::Start)?,
        now
    ])?;
    Ok(())
}

/// All exits, newest first.
pub fn all(connection: &Connection) -> Result<Vec<ExitRow>, Error> {
    exits(connection, "true ORDER BY id DESC", [])
}

/// The exits that are under way, newest first.
pub fn live(connection: &Connection) -> Result<Vec<ExitRow>, Error> {
    exits(connection, "ended_at IS NULL ORDER BY id DESC", [])
}

/// The exits that are over, newest first.
pub fn finished(connection: &Connection) -> Result<Vec<ExitRow>, Error> {
    exits(connection, "ended_at IS NOT NULL ORDER BY id DESC", [])
}

/// The last exit of a VTXO.
pub fn last_of(connection: &Connection, vtxo: VtxoId) -> Result<Option<ExitRow>, Error> {
    let condition = "vtxo = ?1 ORDER BY id DESC LIMIT 1";
    Ok(exits(connection, condition, [vtxo.to_bytes()])?.pop())
}

/// The exit of a VTXO that is under way.
pub fn live_of(connection: &Connection, vtxo: VtxoId) -> Result<Option<ExitRow>, Error> {
    let condition = "vtxo = ?1 AND ended_at IS NULL";
    Ok(exits(connection, condition, [vtxo.to_bytes()])?.pop())
}

/// The exit that an operation does.
///
/// # Errors
/// [`Error::Conflict`] when there is none.
pub fn of_operation(connection: &Connection, operation: &OperationId) -> Result<ExitRow, Error> {
    let found = exits(connection, "operation = ?1", [operation.as_str()])?.pop();
    found.ok_or_else(|| Error::Conflict(format!("operation {operation} is no exit")))
}

/// Gives an exit another state, and keeps the earlier one.
pub fn advance(
    tx: &WriteTx<'_>,
    exit: &ExitRow,
    state: &ExitState,
    tip: BlockHeight,
    now: i64,
) -> Result<(), Error> {
    if exit.state == *state {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO exit_state (exit, seq, state, tip)
         VALUES (?1, (SELECT count(*) FROM exit_state WHERE exit = ?1), ?2, ?3)",
    )?
    .execute(params![exit.id, encoded(&exit.state)?, tip.to_u32()])?;
    let ended_at = state.is_final().then_some(now);
    tx.prepare_cached("UPDATE exit SET state = ?2, ended_at = ?3 WHERE id = ?1")?
        .execute(params![exit.id, encoded(state)?, ended_at])?;
    Ok(())
}

/// The earlier states of an exit, oldest first, with the height of the chain when each was left.
pub fn history(connection: &Connection, exit: i64) -> Result<Vec<(ExitState, BlockHeight)>, Error> {
    let sql = "SELECT state, tip FROM exit_state WHERE exit = ?1 ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([exit])?;
    let mut states = Vec::new();
    while let Some(row) = rows.next()? {
        let state: String = row.get(0)?;
        states.push((decoded(&state)?, BlockHeight::new(row.get(1)?)));
    }
    Ok(states)
}

/// Stores what keeps an exit from going on; `None` when nothing does.
pub fn set_problem(
    tx: &WriteTx<'_>,
    exit: i64,
    problem: Option<&ExitProblem>,
) -> Result<(), Error> {
    let problem = problem.map(encoded).transpose()?;
    tx.prepare_cached("UPDATE exit SET problem = ?2 WHERE id = ?1")?
        .execute(params![exit, problem])?;
    Ok(())
}

/// Stores the fee rate that a person wants for all exits under way.
pub fn set_fee_rate(tx: &WriteTx<'_>, fee_rate: FeeRate) -> Result<(), Error> {
    tx.prepare_cached("UPDATE exit SET fee_rate = ?1 WHERE ended_at IS NULL")?
        .execute([fee_rate.to_sat_per_kwu()])?;
    Ok(())
}

/// Stores whether a person asks for the end of an exit.
pub fn set_cancel(tx: &WriteTx<'_>, exit: i64, cancel: bool) -> Result<(), Error> {
    tx.prepare_cached("UPDATE exit SET cancel = ?2 WHERE id = ?1")?
        .execute(params![exit, cancel])?;
    Ok(())
}

/// Stores a transaction of the wallet that claims the outputs of these exits.
pub fn set_claim(tx: &WriteTx<'_>, exits: &[i64], claim: &Transaction) -> Result<(), Error> {
    let txid = claim.compute_txid().to_byte_array();
    tx.prepare_cached(
        "INSERT INTO exit_claim (txid, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?
    .execute(params![txid, encode::serialize(claim)])?;
    for exit in exits {
        tx.prepare_cached("UPDATE exit SET claim = ?2 WHERE id = ?1")?
            .execute(params![exit, txid])?;
    }
    Ok(())
}

/// Forgets the claim of an exit: it can never confirm.
pub fn drop_claim(tx: &WriteTx<'_>, exit: i64) -> Result<(), Error> {
    tx.prepare_cached("UPDATE exit SET claim = NULL WHERE id = ?1")?
        .execute([exit])?;
    Ok(())
}

/// A transaction that claims outputs of exits.
pub fn claim(connection: &Connection, txid: Txid) -> Result<Option<Transaction>, Error> {
    let body: Option<Vec<u8>> = connection
        .prepare_cached("SELECT body FROM exit_claim WHERE txid = ?1")?
        .query_row([txid.to_byte_array()], |row| row.get(0))
        .optional()?;
    body.as_deref().map(transaction).transpose()
}

/// The child of a transaction, if one is known.
pub fn child(connection: &Connection, parent: Txid) -> Result<Option<ExitChild>, Error> {
    let sql = "SELECT child, body, fee, origin, accepted FROM exit_child WHERE parent = ?1";
    connection
        .prepare_cached(sql)?
        .query_row([parent.to_byte_array()], |row| Ok(child_of(row)))
        .optional()?
        .transpose()
}

fn child_of(row: &Row<'_>) -> Result<ExitChild, Error> {
    let body: Option<Vec<u8>> = row.get(1)?;
    let origin: String = row.get(3)?;
    Ok(ExitChild {
        txid: Txid::from_byte_array(row.get(0)?),
        body: body.as_deref().map(transaction).transpose()?,
        fee: row.get::<_, Option<u64>>(2)?.map(Amount::from_sat),
        origin: ChildOrigin::from_name(&origin)
            .ok_or_else(|| Error::corrupt("exit child", origin))?,
        accepted: row.get(4)?,
    })
}

fn transaction(body: &[u8]) -> Result<Transaction, Error> {
    encode::deserialize(body).map_err(|error| Error::corrupt("exit transaction", error))
}

/// Stores the child of a transaction, in place of an earlier one.
pub fn put_child(tx: &WriteTx<'_>, parent: Txid, child: &ExitChild) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO exit_child (parent, child, body, fee, origin, accepted) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (parent) DO UPDATE SET child = excluded.child, body = excluded.body, fee = excluded.fee,
             origin = excluded.origin, accepted = excluded.accepted",
    )?
    .execute(params![
        parent.to_byte_array(),
        child.txid.to_byte_array(),
        child.body.as_ref().map(encode::serialize),
        child.fee.map(Amount::to_sat),
        child.origin.name(),
        child.accepted
    ])?;
    Ok(())
}

/// Forgets the child of a transaction: it can never confirm.
pub fn drop_child(tx: &WriteTx<'_>, parent: Txid) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM exit_child WHERE parent = ?1")?
        .execute([parent.to_byte_array()])?;
    Ok(())
}
