//! Sums over all payments of the network.

use serde::Serialize;

use super::LightningNetwork;

/// What passed between the Ark server's node and the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Paid to the world, in msat.
    pub sent_msat: i64,
    /// On its way to the world, in msat.
    pub sending_msat: i64,
    /// Settled payments of the world, in msat.
    pub received_msat: i64,
    /// Held payments of the world, in msat.
    pub held_msat: i64,
}

impl LightningNetwork {
    /// Totals of this moment.
    pub fn totals(&self) -> anyhow::Result<Totals> {
        let db = self.store.lock();
        let sum = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Totals {
            sent_msat: sum(
                "SELECT COALESCE(SUM(amount_msat), 0) FROM payment WHERE status = 'complete'",
            )?,
            sending_msat: sum(
                "SELECT COALESCE(SUM(amount_msat), 0) FROM payment WHERE status = 'pending'",
            )?,
            received_msat: sum(
                "SELECT COALESCE(SUM(paid_msat), 0) FROM hold WHERE status = 'settled'",
            )?,
            held_msat: sum(
                "SELECT COALESCE(SUM(paid_msat), 0) FROM hold WHERE status = 'accepted'",
            )?,
        })
    }
}
