//! Whole VTXOs with their exit chains, apart from the rows whose state changes.
//!
//! A body is stored for each VTXO of the wallet, for VTXOs that were signed for a payee until they are delivered, and for the
//! new VTXOs of a round until they are valid.

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, WriteTx};

/// Stores a body. One with the same id is replaced: a VTXO gets its last signatures after it got its id.
pub fn put(tx: &WriteTx<'_>, vtxo: &Vtxo<Full>) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO vtxo_body (id, body) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    )?
    .execute(params![vtxo.id().to_bytes(), vtxo.serialize()])?;
    Ok(())
}

/// Stores a body unless there is one with the same id.
pub fn put_if_absent(tx: &WriteTx<'_>, vtxo: &Vtxo<Full>) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO vtxo_body (id, body) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![vtxo.id().to_bytes(), vtxo.serialize()])?;
    Ok(())
}

/// Whether there is a body with this id.
pub fn is_stored(connection: &Connection, id: VtxoId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM vtxo_body WHERE id = ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.to_bytes()], |row| row.get(0))?)
}

/// The VTXO with this id.
///
/// # Errors
/// [`Error::Conflict`] when there is none.
pub fn get(connection: &Connection, id: VtxoId) -> Result<Vtxo<Full>, Error> {
    let body: Option<Vec<u8>> = connection
        .prepare_cached("SELECT body FROM vtxo_body WHERE id = ?1")?
        .query_row([id.to_bytes()], |row| row.get(0))
        .optional()?;
    let body = body.ok_or_else(|| Error::Conflict(format!("the wallet has no VTXO {id}")))?;
    Vtxo::<Full>::deserialize(&body).map_err(|error| Error::corrupt("VTXO", error))
}

/// Deletes the bodies of VTXOs that are not the wallet's own. Own bodies stay, whatever the state of their VTXO.
pub fn delete_foreign(tx: &WriteTx<'_>, ids: &[VtxoId]) -> Result<(), Error> {
    for id in ids {
        tx.prepare_cached(
            "DELETE FROM vtxo_body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM vtxo WHERE vtxo.id = ?1)",
        )?
        .execute([id.to_bytes()])?;
    }
    Ok(())
}
