//! Movement rows: what happened to the balance, and why (docs/protocol.md §7).

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::news::Body;
use super::{Error, WriteTx};
use crate::model::{
    EventKind, Facts, HistoryPage, Movement, MovementId, MovementStatus, NewMovement, OperationId,
    PaymentMethod, Subsystem, Transfer,
};

/// A subsystem as the table names it: part of the wallet and kind of movement.
fn column(subsystem: Subsystem) -> String {
    format!("{}/{}", subsystem.name(), subsystem.kind())
}

fn parse_subsystem(text: &str) -> Result<Subsystem, Error> {
    Subsystem::ALL
        .into_iter()
        .find(|subsystem| column(*subsystem) == text)
        .ok_or_else(|| Error::corrupt("movement subsystem", text))
}

fn parse_status(name: &str) -> Result<MovementStatus, Error> {
    MovementStatus::from_name(name).ok_or_else(|| Error::corrupt("movement status", name))
}

/// Reports a movement that this write has created or changed.
fn report(tx: &WriteTx<'_>, kind: EventKind, id: MovementId) {
    tx.report(kind, id.0.to_string(), Body::AtTheEnd(json));
}

fn json(connection: &Connection, id: &str) -> Result<Option<String>, Error> {
    let number = id.parse();
    let number = number.map_err(|_| Error::corrupt("movement number", id))?;
    let movement = get(connection, MovementId(number))?;
    let json = movement.as_ref().map(serde_json::to_string).transpose();
    json.map_err(|error| Error::corrupt("movement", error))
}

/// Inserts a movement and returns its number.
pub fn insert(tx: &WriteTx<'_>, movement: &NewMovement<'_>, now: i64) -> Result<MovementId, Error> {
    let completed_at = (movement.status != MovementStatus::Pending).then_some(now);
    tx.prepare_cached(
        "INSERT INTO movement (operation, status, subsystem, metadata, intended_balance, effective_balance, offchain_fee,
                               created_at, updated_at, completed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)",
    )?
    .execute(params![
        movement.operation.map(OperationId::as_str),
        movement.status.name(),
        column(movement.subsystem),
        Value::Object(movement.metadata.clone().into_metadata()).to_string(),
        movement.intended_balance.to_sat(),
        movement.effective_balance.to_sat(),
        movement.offchain_fee.to_sat(),
        now,
        completed_at,
    ])?;
    let id = u32::try_from(tx.last_insert_rowid())
        .map_err(|_| Error::Conflict("the movement numbers are used up".into()))?;
    let id = MovementId(id);
    add_transfers(tx, id, movement.sent_to, movement.received_on)?;
    add_vtxos(tx, id, "input", movement.input_vtxos)?;
    add_vtxos(tx, id, "output", movement.output_vtxos)?;
    report(tx, EventKind::MovementCreated, id);
    Ok(id)
}

/// Inserts a movement of another program with its number and its times, which is history and no event. An operation with this id has to
/// have ended.
pub fn import(
    tx: &WriteTx<'_>,
    movement: &Movement,
    operation: Option<&OperationId>,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO movement (id, operation, status, subsystem, metadata, intended_balance, effective_balance, offchain_fee,
                               created_at, updated_at, completed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        movement.id.0,
        operation.map(OperationId::as_str),
        movement.status.name(),
        column(movement.subsystem),
        Value::Object(movement.metadata.clone()).to_string(),
        movement.intended_balance.to_sat(),
        movement.effective_balance.to_sat(),
        movement.offchain_fee.to_sat(),
        movement.created_at.timestamp_millis(),
        movement.updated_at.timestamp_millis(),
        movement.completed_at.map(|time| time.timestamp_millis()),
    ])?;
    add_transfers(tx, movement.id, &movement.sent_to, &movement.received_on)?;
    add_vtxos(tx, movement.id, "input", &movement.input_vtxos)?;
    add_vtxos(tx, movement.id, "output", &movement.output_vtxos)?;
    add_vtxos(tx, movement.id, "exited", &movement.exited_vtxos)
}

fn add_transfers(
    tx: &WriteTx<'_>,
    id: MovementId,
    sent_to: &[Transfer],
    received_on: &[Transfer],
) -> Result<(), Error> {
    for (direction, transfers) in [("sent", sent_to), ("received", received_on)] {
        for (position, transfer) in transfers.iter().enumerate() {
            tx.prepare_cached(
                "INSERT INTO movement_destination (movement, direction, position, method, value, amount)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                id.0,
                direction,
                i64::try_from(position).unwrap_or(i64::MAX),
                transfer.method.kind(),
                transfer.method.value(),
                transfer.amount.to_sat()
            ])?;
        }
    }
    Ok(())
}

fn add_vtxos(tx: &WriteTx<'_>, id: MovementId, role: &str, vtxos: &[VtxoId]) -> Result<(), Error> {
    for vtxo in vtxos {
        tx.prepare_cached("INSERT INTO movement_vtxo (movement, role, vtxo) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute(params![id.0, role, vtxo.to_bytes()])?;
    }
    Ok(())
}

/// Adds VTXOs that the movement created for the wallet.
pub fn add_outputs(
    tx: &WriteTx<'_>,
    id: MovementId,
    vtxos: &[VtxoId],
    now: i64,
) -> Result<(), Error> {
    add_vtxos(tx, id, "output", vtxos)?;
    let changed = tx
        .prepare_cached("UPDATE movement SET updated_at = ?2 WHERE id = ?1")?
        .execute(params![id.0, now])?;
    report_change(tx, id, changed);
    Ok(())
}

/// Adds a VTXO that the movement puts on chain.
pub fn add_exited(tx: &WriteTx<'_>, id: MovementId, vtxo: VtxoId) -> Result<(), Error> {
    add_vtxos(tx, id, "exited", &[vtxo])?;
    report(tx, EventKind::MovementUpdated, id);
    Ok(())
}

/// Reports a change, unless it changed no row.
fn report_change(tx: &WriteTx<'_>, id: MovementId, rows: usize) {
    if rows > 0 {
        report(tx, EventKind::MovementUpdated, id);
    }
}

/// Gives a pending movement its final status. A movement that has one already is not changed.
///
/// `effective_balance`, when given, replaces the change of the balance and sets the fee to zero.
pub fn finish(
    tx: &WriteTx<'_>,
    id: MovementId,
    status: MovementStatus,
    effective_balance: Option<SignedAmount>,
    now: i64,
) -> Result<(), Error> {
    let changed = tx
        .prepare_cached(
            "UPDATE movement SET status = ?2, effective_balance = coalesce(?3, effective_balance),
                offchain_fee = iif(?3 IS NULL, offchain_fee, 0), updated_at = ?4, completed_at = ?4
         WHERE id = ?1 AND status = 'pending'",
        )?
        .execute(params![
            id.0,
            status.name(),
            effective_balance.map(SignedAmount::to_sat),
            now
        ])?;
    report_change(tx, id, changed);
    Ok(())
}

/// Makes the movement of an operation pending again, with the change of the balance that was intended: what ended it is undone.
pub fn reopen(tx: &WriteTx<'_>, operation: &OperationId, now: i64) -> Result<(), Error> {
    let Some(id) = id_of_operation(tx, operation)? else {
        return Ok(());
    };
    tx.prepare_cached(
        "UPDATE movement SET status = 'pending', effective_balance = intended_balance, updated_at = ?2, completed_at = NULL
         WHERE id = ?1",
    )?
    .execute(params![id.0, now])?;
    report(tx, EventKind::MovementUpdated, id);
    Ok(())
}

/// Changes inputs, balance and fee of a pending movement, because some of its inputs are no longer available.
pub fn revise(
    tx: &WriteTx<'_>,
    id: MovementId,
    inputs: &[VtxoId],
    effective_balance: SignedAmount,
    offchain_fee: Amount,
    now: i64,
) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM movement_vtxo WHERE movement = ?1 AND role = 'input'")?
        .execute([id.0])?;
    add_vtxos(tx, id, "input", inputs)?;
    let changed = tx
        .prepare_cached(
            "UPDATE movement SET effective_balance = ?2, offchain_fee = ?3, updated_at = ?4
         WHERE id = ?1 AND status = 'pending'",
        )?
        .execute(params![
            id.0,
            effective_balance.to_sat(),
            offchain_fee.to_sat(),
            now
        ])?;
    report_change(tx, id, changed);
    Ok(())
}

/// Sets keys of a movement's metadata; other keys are kept.
pub fn note(tx: &WriteTx<'_>, id: MovementId, facts: Facts, now: i64) -> Result<(), Error> {
    if let Some(movement) = get(tx, id)? {
        let mut metadata = movement.metadata;
        metadata.extend(facts.into_metadata());
        set_metadata(tx, id, &metadata, now)?;
    }
    Ok(())
}

/// Replaces a movement's metadata.
pub fn set_metadata(
    tx: &WriteTx<'_>,
    id: MovementId,
    metadata: &Map<String, Value>,
    now: i64,
) -> Result<(), Error> {
    let changed = tx
        .prepare_cached("UPDATE movement SET metadata = ?2, updated_at = ?3 WHERE id = ?1")?
        .execute(params![
            id.0,
            Value::Object(metadata.clone()).to_string(),
            now
        ])?;
    report_change(tx, id, changed);
    Ok(())
}

/// The number of the movement that belongs to an operation.
pub fn id_of_operation(
    connection: &Connection,
    operation: &OperationId,
) -> Result<Option<MovementId>, Error> {
    Ok(connection
        .prepare_cached("SELECT id FROM movement WHERE operation = ?1")?
        .query_row([operation.as_str()], |row| row.get(0).map(MovementId))
        .optional()?)
}

/// Takes the movement of an operation away from it, which ended without success: its id is given to another one.
pub fn leave_operation(tx: &WriteTx<'_>, operation: &OperationId) -> Result<(), Error> {
    tx.prepare_cached("UPDATE movement SET operation = NULL WHERE operation = ?1")?
        .execute([operation.as_str()])?;
    Ok(())
}

/// Whether a movement of another operation has spent this VTXO. A refresh under way, or one that failed, has not.
pub fn is_spent_by_another(
    connection: &Connection,
    vtxo: VtxoId,
    operation: &OperationId,
) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (
            SELECT 1 FROM movement_vtxo JOIN movement ON movement.id = movement_vtxo.movement
            WHERE role = 'input' AND vtxo = ?1 AND operation IS NOT ?2
              AND (status = 'successful' OR (status = 'pending' AND subsystem <> ?3)))";
    Ok(connection.prepare_cached(sql)?.query_row(
        params![
            vtxo.to_bytes(),
            operation.as_str(),
            column(Subsystem::Refresh)
        ],
        |row| row.get(0),
    )?)
}

/// Whether a refresh that has not succeeded takes, or took, this VTXO as an input. The server may have carried it out all the same.
pub fn is_of_unsuccessful_refresh(connection: &Connection, vtxo: VtxoId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (
            SELECT 1 FROM movement_vtxo JOIN movement ON movement.id = movement_vtxo.movement
            WHERE role = 'input' AND vtxo = ?1 AND subsystem = ?2 AND status <> 'successful')";
    let params = params![vtxo.to_bytes(), column(Subsystem::Refresh)];
    Ok(connection
        .prepare_cached(sql)?
        .query_row(params, |row| row.get(0))?)
}

/// The movement with this number.
pub fn get(connection: &Connection, id: MovementId) -> Result<Option<Movement>, Error> {
    Ok(select(connection, "WHERE id = ?1", [id.0])?.pop())
}

/// One page of the history, newest movement first.
pub fn list(connection: &Connection, page: &HistoryPage) -> Result<Vec<Movement>, Error> {
    let before = page.before.map_or(i64::MAX, |id| id.0.into());
    let limit = page.limit.map_or(-1, i64::from);
    let mut condition = "WHERE id < ?".to_owned();
    let mut values: Vec<rusqlite::types::Value> = vec![before.into()];
    if let Some(method) = &page.method {
        condition +=
            " AND id IN (SELECT movement FROM movement_destination WHERE method = ? AND value = ?)";
        values.push(method.kind().to_owned().into());
        values.push(method.value().to_owned().into());
    }
    if let Some(key) = &page.idempotency_key {
        condition += " AND id IN (SELECT movement FROM idempotency_movement WHERE key = ? UNION
                SELECT movement.id FROM movement JOIN idempotency_key ON receive = movement.operation WHERE key = ?)";
        values.extend([key.clone().into(), key.clone().into()]);
    }
    condition += " ORDER BY id DESC LIMIT ?";
    values.push(limit.into());
    select(connection, &condition, rusqlite::params_from_iter(values))
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Movement>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, status, subsystem, metadata, intended_balance, effective_balance, offchain_fee,
                created_at, updated_at, completed_at
         FROM movement {condition}"
    ))?;
    let mut rows = statement.query(values)?;
    let mut movements = Vec::new();
    while let Some(row) = rows.next()? {
        let mut movement = movement(row)?;
        attach_transfers(connection, &mut movement)?;
        attach_vtxos(connection, &mut movement)?;
        movements.push(movement);
    }
    Ok(movements)
}

fn movement(row: &Row<'_>) -> Result<Movement, Error> {
    let metadata: String = row.get(3)?;
    Ok(Movement {
        id: MovementId(row.get(0)?),
        status: parse_status(&row.get::<_, String>(1)?)?,
        subsystem: parse_subsystem(&row.get::<_, String>(2)?)?,
        metadata: serde_json::from_str(&metadata)
            .map_err(|error| Error::corrupt("movement metadata", error))?,
        intended_balance: SignedAmount::from_sat(row.get(4)?),
        effective_balance: SignedAmount::from_sat(row.get(5)?),
        offchain_fee: Amount::from_sat(row.get(6)?),
        sent_to: Vec::new(),
        received_on: Vec::new(),
        input_vtxos: Vec::new(),
        output_vtxos: Vec::new(),
        exited_vtxos: Vec::new(),
        created_at: moment(row.get(7)?)?,
        updated_at: moment(row.get(8)?)?,
        completed_at: row.get::<_, Option<i64>>(9)?.map(moment).transpose()?,
    })
}

fn moment(millis: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_millis(millis).ok_or_else(|| Error::corrupt("movement time", millis))
}

fn attach_transfers(connection: &Connection, movement: &mut Movement) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(
        "SELECT direction, method, value, amount FROM movement_destination WHERE movement = ?1 ORDER BY direction, position",
    )?;
    let mut rows = statement.query([movement.id.0])?;
    while let Some(row) = rows.next()? {
        let kind: String = row.get(1)?;
        let method = PaymentMethod::from_parts(&kind, row.get(2)?)
            .ok_or_else(|| Error::corrupt("payment method", kind))?;
        let transfer = Transfer {
            method,
            amount: Amount::from_sat(row.get(3)?),
        };
        match row.get::<_, String>(0)?.as_str() {
            "sent" => movement.sent_to.push(transfer),
            _ => movement.received_on.push(transfer),
        }
    }
    Ok(())
}

fn attach_vtxos(connection: &Connection, movement: &mut Movement) -> Result<(), Error> {
    let mut statement = connection.prepare_cached(
        "SELECT role, vtxo FROM movement_vtxo WHERE movement = ?1 ORDER BY role, vtxo",
    )?;
    let mut rows = statement.query([movement.id.0])?;
    while let Some(row) = rows.next()? {
        let id = VtxoId::from_slice(&row.get::<_, Vec<u8>>(1)?)
            .map_err(|error| Error::corrupt("movement VTXO", error))?;
        match row.get::<_, String>(0)?.as_str() {
            "input" => movement.input_vtxos.push(id),
            "output" => movement.output_vtxos.push(id),
            _ => movement.exited_vtxos.push(id),
        }
    }
    Ok(())
}
