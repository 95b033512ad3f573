//! What barkd has not brought to an end.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;

use super::lightning;
use crate::store::Error;

/// The states in which an exit has ended.
const ENDED_EXITS: [&str; 4] = ["claimed", "vtxo-already-spent", "vtxo-swept", "canceled"];

pub(super) fn list(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (id, payload) in texts(
        connection,
        "SELECT id, payload FROM bark_wallet_action_checkpoint ORDER BY created_at",
    )? {
        let payload: Value = serde_json::from_str(&payload).unwrap_or_default();
        if lightning::unpaid(&payload).is_none() {
            found.push(format!("{} {id}", action(&payload)));
        }
    }
    for (id, _) in texts(
        connection,
        "SELECT id, '' FROM bark_round_state ORDER BY id",
    )? {
        found.push(format!("round {id}"));
    }
    for (vtxo, _) in texts(connection, "SELECT vtxo_id, '' FROM bark_pending_board")? {
        found.push(format!("board {vtxo}"));
    }
    for (vtxo, state) in texts(connection, "SELECT vtxo_id, state FROM bark_exit_states")? {
        let state: Value = serde_json::from_str(&state).unwrap_or_default();
        let state = state["type"].as_str().unwrap_or_default().to_owned();
        if !ENDED_EXITS.contains(&state.as_str()) {
            found.push(format!("exit of VTXO {vtxo}"));
        }
    }
    let locked = "SELECT vtxo_id, state FROM bark_vtxo_state s WHERE state_kind = 'Locked'
                  AND id = (SELECT max(id) FROM bark_vtxo_state WHERE vtxo_id = s.vtxo_id)";
    for (vtxo, state) in texts(connection, locked)? {
        let state: Value = serde_json::from_str(&state).unwrap_or_default();
        if !state["holder"].is_null() {
            found.push(format!("locked VTXO {vtxo}"));
        }
    }
    let pending = "SELECT id, subsystem_name || '/' || movement_kind FROM bark_movements WHERE status = 'pending' ORDER BY id";
    for (id, kind) in texts(connection, pending)? {
        found.push(format!("movement {id} ({kind})"));
    }
    Ok(found)
}

/// What an action is, by the name under which its state is stored.
fn action(payload: &Value) -> &'static str {
    let is = |name: &str| payload.get(name).is_some() || payload["type"] == name;
    if is("LightningSend") {
        "Lightning payment"
    } else if is("LightningReceive") {
        "Lightning receive"
    } else if is("ArkoorSend") {
        "payment"
    } else if is("Board") {
        "board"
    } else if is("Offboard") {
        "offboard"
    } else {
        "operation"
    }
}

/// Two columns of a query, as text.
fn texts(connection: &Connection, sql: &str) -> Result<Vec<(String, String)>, Error> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((text(row.get_ref(0)?), text(row.get_ref(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}
