//! VTXO rows, and the transitions between their states (docs/protocol.md §2.2).

use std::sync::Arc;

use ark_lib::vtxo::{Bare, Full};
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::Weight;
use rusqlite::{Connection, Row, params};

use super::news::Body;
use super::{Error, WriteTx, recovery, vtxo_body};
use crate::model::{EventKind, ExpiringVtxo, OperationId, VtxoRecord, VtxoState};

const COLUMNS: &str = "bare, exit_depth, exit_tx_weight, state, holder, registered, claimed";

fn record(row: &Row<'_>) -> Result<Arc<VtxoRecord>, Error> {
    let bare: Vec<u8> = row.get(0)?;
    let vtxo = Vtxo::<Bare>::deserialize(&bare).map_err(|error| Error::corrupt("VTXO", error))?;
    let state: String = row.get(3)?;
    let state = match state.as_str() {
        "spendable" => VtxoState::Spendable,
        "locked" => VtxoState::Locked(row.get::<_, Option<String>>(4)?.map(OperationId::from)),
        "spent" => VtxoState::Spent,
        "exited" => VtxoState::Exited,
        other => return Err(Error::corrupt("VTXO state", other)),
    };
    Ok(Arc::new(VtxoRecord {
        id: vtxo.id(),
        amount: vtxo.amount(),
        policy: vtxo.policy_type(),
        user_pubkey: vtxo.user_pubkey(),
        server_pubkey: vtxo.server_pubkey(),
        expiry_height: vtxo.expiry_height(),
        exit_delta: vtxo.exit_delta(),
        chain_anchor: vtxo.chain_anchor(),
        exit_depth: row.get(1)?,
        exit_tx_weight: Weight::from_wu(row.get(2)?),
        state,
        registered: row.get(5)?,
        claimed: row.get(6)?,
    }))
}

fn records(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Arc<VtxoRecord>>, Error> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM vtxo WHERE {condition}"))?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(record(row)?);
    }
    Ok(found)
}

/// Every VTXO that is neither spent nor claimed on chain.
pub(super) fn all_live(connection: &Connection) -> Result<Vec<Arc<VtxoRecord>>, Error> {
    records(
        connection,
        "state <> 'spent' AND NOT claimed ORDER BY id",
        [],
    )
}

/// VTXOs in any state, by ascending expiry and descending amount: at most `limit` of those that come after `after`.
pub fn list(
    connection: &Connection,
    after: Option<&VtxoRecord>,
    limit: Option<u32>,
) -> Result<Vec<Arc<VtxoRecord>>, Error> {
    let limit = limit.map_or(-1, i64::from);
    let Some(after) = after else {
        let condition = "true ORDER BY expiry_height, amount DESC, id LIMIT ?1";
        return records(connection, condition, [limit]);
    };
    records(
        connection,
        "expiry_height >= ?2 AND (expiry_height, -amount, id) > (?2, -?3, ?4)
         ORDER BY expiry_height, amount DESC, id LIMIT ?1",
        params![
            limit,
            after.expiry_height.to_u32(),
            after.amount.to_sat(),
            after.id.to_bytes()
        ],
    )
}

/// The VTXO with this id, in any state.
pub fn get(connection: &Connection, id: VtxoId) -> Result<Option<Arc<VtxoRecord>>, Error> {
    Ok(records(connection, "id = ?1", [id.to_bytes()])?.pop())
}

/// The VTXOs that an operation holds.
pub fn held_by(
    connection: &Connection,
    holder: &OperationId,
) -> Result<Vec<Arc<VtxoRecord>>, Error> {
    records(connection, "holder = ?1 ORDER BY id", [holder.as_str()])
}

/// Passes the spendable VTXOs to `take`, by ascending expiry and descending exit depth, until it returns false: selection reads no
/// more rows than it needs (docs/protocol.md §6.1).
pub fn walk_spendable(
    connection: &Connection,
    mut take: impl FnMut(Arc<VtxoRecord>) -> bool,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM vtxo WHERE state = 'spendable' ORDER BY expiry_height, exit_depth DESC, id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !take(record(row)?) {
            break;
        }
    }
    Ok(())
}

/// At most `limit` VTXOs, by id and after `after`, whose signed chain the server lacks or whose id is not in the recovery mailbox.
/// Boards that are not registered are left out: the server does not know them yet. So are the HTLCs of Lightning receives, which the
/// server has made, and what they become, which the receive registers.
pub fn to_catch_up(
    connection: &Connection,
    after: Option<VtxoId>,
    limit: usize,
) -> Result<Vec<Arc<VtxoRecord>>, Error> {
    records(
        connection,
        "(registered = 0 OR backed_up = 0) AND state IN ('spendable', 'locked') AND id > ?1
         AND (holder IS NULL OR (holder NOT LIKE 'board.%' AND holder NOT LIKE 'ln_recv.%')) ORDER BY id LIMIT ?2",
        params![
            after.map_or_else(Vec::new, |id| id.to_bytes().to_vec()),
            i64::try_from(limit).unwrap_or(i64::MAX)
        ],
    )
}

/// Stores a VTXO with its body, unless its id is known already. Returns whether it was new.
pub fn insert(tx: &mut WriteTx<'_>, vtxo: &Vtxo<Full>, state: VtxoState) -> Result<bool, Error> {
    let record = VtxoRecord::new(vtxo, state);
    let inserted = tx
        .prepare_cached(
            "INSERT INTO vtxo (id, amount, expiry_height, exit_depth, exit_tx_weight, state, holder, bare)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            record.id.to_bytes(),
            record.amount.to_sat(),
            record.expiry_height.to_u32(),
            record.exit_depth,
            record.exit_tx_weight.to_wu(),
            record.state.name(),
            record.state.holder(),
            vtxo.to_bare().serialize(),
        ])?;
    if inserted == 1 {
        vtxo_body::put(tx, vtxo)?;
        tx.vtxo_changed(Arc::new(record));
    }
    Ok(inserted == 1)
}

/// Locks a spendable VTXO for an operation. Locking it again for the same operation changes nothing.
///
/// # Errors
/// [`Error::Conflict`] when it is spent, exited, unknown, or locked for another operation.
pub fn lock(tx: &mut WriteTx<'_>, id: VtxoId, holder: &OperationId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Locked(Some(holder.clone())), |state| {
        matches!(state, VtxoState::Spendable) || *state == VtxoState::Locked(Some(holder.clone()))
    })
}

/// Unlocks every VTXO that an operation holds.
pub fn release(tx: &mut WriteTx<'_>, holder: &OperationId) -> Result<(), Error> {
    for record in held_by(tx, holder)? {
        set_state(tx, &record, VtxoState::Spendable)?;
    }
    Ok(())
}

/// Locks a VTXO for an operation even if another one holds it: the server has assigned it to this operation. A spent VTXO stays
/// spent, or the end of the operation would make it spendable (H54).
///
/// # Errors
/// [`Error::Conflict`] when it is spent, exited or unknown.
pub fn seize(tx: &mut WriteTx<'_>, id: VtxoId, holder: &OperationId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Locked(Some(holder.clone())), |state| {
        matches!(state, VtxoState::Spendable | VtxoState::Locked(_))
    })
}

/// Marks a VTXO as spent by the operation that holds it.
///
/// # Errors
/// [`Error::Conflict`] when it is not locked for this operation.
pub fn spend_held(tx: &mut WriteTx<'_>, id: VtxoId, holder: &OperationId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Spent, |state| {
        *state == VtxoState::Locked(Some(holder.clone()))
    })
}

/// Marks a VTXO as spent.
///
/// # Errors
/// [`Error::Conflict`] when it is exited or unknown.
pub fn spend(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Spent, |state| {
        *state != VtxoState::Exited
    })
}

/// Sets a spendable VTXO aside: no operation takes it, and none holds it.
///
/// # Errors
/// [`Error::Conflict`] when it is in another state or unknown.
pub fn set_aside(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Locked(None), |state| {
        *state == VtxoState::Spendable
    })
}

/// Marks a VTXO that no operation holds as exited.
///
/// # Errors
/// [`Error::Conflict`] when an operation holds it, or it is spent or unknown.
pub fn exit(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Exited, |state| {
        matches!(state, VtxoState::Spendable | VtxoState::Locked(None))
    })
}

/// Marks a VTXO as exited, whoever holds it: its own transaction is confirmed.
///
/// # Errors
/// [`Error::Conflict`] when it is spent or unknown.
pub fn exit_held(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Exited, |state| {
        *state != VtxoState::Spent
    })
}

/// Marks a VTXO as spent although it is exited, or another operation holds it: what it hangs from is gone.
///
/// # Errors
/// [`Error::Conflict`] when it is unknown.
pub fn write_off(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Spent, |_| true)
}

/// Takes back a VTXO that is spent only by what somebody says: no operation takes it, and none holds it (H54).
///
/// # Errors
/// [`Error::Conflict`] when it is not spent, or unknown.
pub fn take_back(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    transition(tx, id, VtxoState::Locked(None), |state| {
        *state == VtxoState::Spent
    })
}

/// Stores whether the output of an exited VTXO is spent on chain.
pub fn set_claimed(tx: &mut WriteTx<'_>, id: VtxoId, claimed: bool) -> Result<(), Error> {
    tx.prepare_cached("UPDATE vtxo SET claimed = ?2 WHERE id = ?1 AND state = 'exited'")?
        .execute(params![id.to_bytes(), claimed])?;
    if let Some(record) = get(tx, id)? {
        tx.vtxo_changed(record);
    }
    Ok(())
}

/// Makes a VTXO spendable again that was set aside or exited: the chain or the server has changed its mind. One that the server calls
/// spent is set aside: it can only be exited.
///
/// # Errors
/// [`Error::Conflict`] when an operation holds it, or it is spent or unknown (H54).
pub fn reinstate(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    let state = match recovery::is_unproven(tx, id)? {
        true => VtxoState::Locked(None),
        false => VtxoState::Spendable,
    };
    transition(tx, id, state, |state| {
        matches!(state, VtxoState::Exited | VtxoState::Locked(None))
    })
}

fn transition(
    tx: &mut WriteTx<'_>,
    id: VtxoId,
    to: VtxoState,
    allowed: impl FnOnce(&VtxoState) -> bool,
) -> Result<(), Error> {
    let record =
        get(tx, id)?.ok_or_else(|| Error::Conflict(format!("the wallet has no VTXO {id}")))?;
    if record.state == to {
        return Ok(());
    }
    if !allowed(&record.state) {
        return Err(Error::Conflict(format!(
            "VTXO {id} is {} and cannot become {to}",
            record.state
        )));
    }
    set_state(tx, &record, to)
}

fn set_state(tx: &mut WriteTx<'_>, record: &VtxoRecord, state: VtxoState) -> Result<(), Error> {
    tx.prepare_cached("UPDATE vtxo SET state = ?2, holder = ?3 WHERE id = ?1")?
        .execute(params![record.id.to_bytes(), state.name(), state.holder()])?;
    tx.vtxo_changed(Arc::new(VtxoRecord {
        state,
        ..record.clone()
    }));
    Ok(())
}

/// Stores whether the server has the signed chains of these VTXOs.
pub fn set_registered(tx: &mut WriteTx<'_>, ids: &[VtxoId], registered: bool) -> Result<(), Error> {
    for id in ids {
        tx.prepare_cached("UPDATE vtxo SET registered = ?2 WHERE id = ?1")?
            .execute(params![id.to_bytes(), registered])?;
        if let Some(record) = get(tx, *id)? {
            tx.vtxo_changed(record);
        }
    }
    Ok(())
}

/// Stores that the ids of these VTXOs are in the recovery mailbox.
pub fn set_backed_up(tx: &WriteTx<'_>, ids: &[VtxoId]) -> Result<(), Error> {
    for id in ids {
        tx.prepare_cached("UPDATE vtxo SET backed_up = 1 WHERE id = ?1")?
            .execute([id.to_bytes()])?;
    }
    Ok(())
}

/// Whether an event has told that this VTXO expires soon.
pub fn is_expiry_told(connection: &Connection, id: VtxoId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM vtxo WHERE id = ?1 AND expiry_told)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.to_bytes()], |row| row.get(0))?)
}

/// Tells that a VTXO expires soon, once.
pub fn tell_expiry(tx: &WriteTx<'_>, record: &VtxoRecord) -> Result<(), Error> {
    let changed = tx
        .prepare_cached("UPDATE vtxo SET expiry_told = 1 WHERE id = ?1 AND NOT expiry_told")?
        .execute([record.id.to_bytes()])?;
    if changed == 0 {
        return Ok(());
    }
    let shown = ExpiringVtxo {
        id: record.id,
        amount: record.amount,
        expiry_height: record.expiry_height.to_u32(),
    };
    let json = serde_json::to_string(&shown).map_err(|error| Error::corrupt("VTXO", error))?;
    tx.report(
        EventKind::VtxoExpiring,
        record.id.to_string(),
        Body::Now(json),
    );
    Ok(())
}
