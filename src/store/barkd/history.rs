//! The history of barkd.

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};
use rusqlite::{Connection, Row};

use super::{moment, parse};
use crate::model::{Movement, MovementId, MovementStatus, PaymentMethod, Subsystem, Transfer};
use crate::store::Error;

pub(super) fn movements(connection: &Connection) -> Result<Vec<Movement>, Error> {
    let mut statement = connection.prepare(
        "SELECT id, status, subsystem_name, movement_kind, metadata, intended_balance, effective_balance, offchain_fee,
                created_at, updated_at, completed_at
         FROM bark_movements ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut movement = movement(row)?;
        let id = movement.id;
        movement.sent_to = transfers(connection, "bark_movements_sent_to", id)?;
        movement.received_on = transfers(connection, "bark_movements_received_on", id)?;
        movement.input_vtxos = vtxos(connection, "bark_movements_input_vtxos", id)?;
        movement.output_vtxos = vtxos(connection, "bark_movements_output_vtxos", id)?;
        movement.exited_vtxos = vtxos(connection, "bark_movements_exited_vtxos", id)?;
        found.push(movement);
    }
    Ok(found)
}

/// The kinds of movements that arkwalletd does not have.
pub(super) fn unknown_kinds(connection: &Connection) -> Result<Vec<String>, Error> {
    let sql = "SELECT DISTINCT subsystem_name, movement_kind FROM bark_movements ORDER BY 1, 2";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut unknown = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
        if subsystem(&name, &kind).is_none() {
            unknown.push(format!("{name}/{kind}"));
        }
    }
    Ok(unknown)
}

fn subsystem(name: &str, kind: &str) -> Option<Subsystem> {
    let mut all = Subsystem::ALL.into_iter();
    all.find(|subsystem| subsystem.name() == name && subsystem.kind() == kind)
}

fn movement(row: &Row<'_>) -> Result<Movement, Error> {
    let (name, kind): (String, String) = (row.get(2)?, row.get(3)?);
    let subsystem = subsystem(&name, &kind)
        .ok_or_else(|| Error::corrupt("movement", format!("its kind {name}/{kind} is unknown")))?;
    let status: String = row.get(1)?;
    let metadata: Option<String> = row.get(4)?;
    let metadata = metadata.map_or_else(
        || Ok(serde_json::Map::new()),
        |it| serde_json::from_str(&it),
    );
    let completed: Option<String> = row.get(10)?;
    Ok(Movement {
        id: MovementId(row.get(0)?),
        status: MovementStatus::from_name(&status)
            .ok_or_else(|| Error::corrupt("movement status", &status))?,
        subsystem,
        metadata: metadata.map_err(|error| Error::corrupt("movement metadata", error))?,
        intended_balance: SignedAmount::from_sat(row.get(5)?),
        effective_balance: SignedAmount::from_sat(row.get(6)?),
        offchain_fee: Amount::from_sat(row.get(7)?),
        sent_to: Vec::new(),
        received_on: Vec::new(),
        input_vtxos: Vec::new(),
        output_vtxos: Vec::new(),
        exited_vtxos: Vec::new(),
        created_at: moment(&row.get::<_, String>(8)?)?,
        updated_at: moment(&row.get::<_, String>(9)?)?,
        completed_at: completed.map(|time| moment(&time)).transpose()?,
    })
}

fn transfers(connection: &Connection, table: &str, id: MovementId) -> Result<Vec<Transfer>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT destination_type, destination_value, amount FROM {table} WHERE movement_id = ?1 ORDER BY rowid"
    ))?;
    let mut rows = statement.query([id.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(0)?;
        found.push(Transfer {
            method: PaymentMethod::from_parts(&kind, row.get(1)?)
                .ok_or_else(|| Error::corrupt("payment method", &kind))?,
            amount: Amount::from_sat(row.get(2)?),
        });
    }
    Ok(found)
}

fn vtxos(connection: &Connection, table: &str, id: MovementId) -> Result<Vec<VtxoId>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT vtxo_id FROM {table} WHERE movement_id = ?1 ORDER BY rowid"
    ))?;
    let rows = statement.query_map([id.0], |row| row.get::<_, String>(0))?;
    rows.map(|id| parse("VTXO id", &id?)).collect()
}
