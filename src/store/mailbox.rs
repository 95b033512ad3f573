//! The mailbox cursor, and received VTXOs whose validity is undecided (docs/protocol.md §4.3, W1).

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use rusqlite::{Connection, params};

use super::{Error, WriteTx};

/// The checkpoint of the last message that was processed; 0 before the first.
pub fn cursor(connection: &Connection) -> Result<u64, Error> {
    Ok(connection.query_row("SELECT mailbox_cursor FROM wallet", [], |row| row.get(0))?)
}

/// Moves the cursor forward. Returns false, and changes nothing, when `checkpoint` is not beyond it.
pub fn advance_cursor(tx: &WriteTx<'_>, checkpoint: u64) -> Result<bool, Error> {
    let moved = tx
        .prepare_cached("UPDATE wallet SET mailbox_cursor = ?1 WHERE mailbox_cursor < ?1")?
        .execute([checkpoint])?;
    Ok(moved == 1)
}

/// A received VTXO whose validity is undecided.
#[derive(Debug)]
pub struct Quarantined {
    /// The VTXO as it was received.
    pub vtxo: Vtxo<Full>,
    /// When it was received, unix milliseconds.
    pub received_at: i64,
}

/// Stores a VTXO until its validity can be decided. Storing it again changes nothing.
pub fn quarantine(
    tx: &WriteTx<'_>,
    vtxo: &Vtxo<Full>,
    reason: &str,
    now: i64,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO quarantine (id, vtxo, reason, received_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![vtxo.id().to_bytes(), vtxo.serialize(), reason, now],
    )?;
    Ok(())
}

/// All undecided VTXOs, oldest first.
pub fn quarantined(connection: &Connection) -> Result<Vec<Quarantined>, Error> {
    let mut statement = connection
        .prepare_cached("SELECT vtxo, received_at FROM quarantine ORDER BY received_at, id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        let vtxo = Vtxo::<Full>::deserialize(&bytes)
            .map_err(|error| Error::corrupt("quarantined VTXO", error))?;
        found.push(Quarantined {
            vtxo,
            received_at: row.get(1)?,
        });
    }
    Ok(found)
}

/// Removes a VTXO whose validity is decided.
pub fn leave_quarantine(tx: &WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    tx.execute("DELETE FROM quarantine WHERE id = ?1", [id.to_bytes()])?;
    Ok(())
}
