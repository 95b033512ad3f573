//! The server's own VTXOs that Lightning receives are granted from.

use anyhow::Context;
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::Txid;
use bitcoin::hashes::Hash;
use rusqlite::{Transaction, params};

use super::Store;

impl Store {
    /// The pool's VTXOs that expire at `height` or later, the largest first.
    pub fn pool(&self, height: u32) -> anyhow::Result<Vec<Vtxo<Full>>> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT body FROM ln_pool JOIN vtxo ON id = ln_pool.vtxo
             WHERE expiry_height >= ?1 ORDER BY ln_pool.amount_sat DESC, id",
        )?;
        let bodies = statement.query_map([height], |row| row.get::<_, Vec<u8>>(0))?;
        bodies
            .map(|body| Vtxo::deserialize(&body?).context("stored vtxo is broken"))
            .collect()
    }
}

/// Adds a VTXO whose record exists.
pub fn insert(tx: &Transaction<'_>, vtxo: &Vtxo<Full>) -> anyhow::Result<()> {
    tx.execute(
        "INSERT INTO ln_pool (vtxo, amount_sat, expiry_height) VALUES (?1, ?2, ?3)",
        params![
            vtxo.id().to_bytes(),
            vtxo.amount().to_sat(),
            vtxo.expiry_height().to_u32()
        ],
    )?;
    Ok(())
}

/// Takes a VTXO out of the pool, because `txid` spends it.
pub fn remove(tx: &Transaction<'_>, id: VtxoId, txid: Txid) -> anyhow::Result<()> {
    tx.execute(
        "UPDATE vtxo SET spent_by = ?2 WHERE id = ?1",
        params![id.to_bytes(), txid.to_byte_array()],
    )?;
    tx.execute("DELETE FROM ln_pool WHERE vtxo = ?1", [id.to_bytes()])?;
    Ok(())
}
