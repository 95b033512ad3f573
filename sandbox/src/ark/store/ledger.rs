//! Totals over all VTXOs, so that a test can check that money is conserved.

use anyhow::Context;
use ark_lib::VtxoId;
use bitcoin::Amount;
use serde::Serialize;

use super::{Store, VtxoRecord, VtxoState};

/// Number and value of some VTXOs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// How many.
    pub count: u32,
    /// Their sum.
    #[serde(rename = "amount_sat", with = "bitcoin::amount::serde::as_sat")]
    pub amount: Amount,
}

/// The VTXOs of all clients, by state. Each client VTXO is counted exactly once; the server's own outputs are not
/// counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Registered and spendable.
    pub spendable: Total,
    /// Cosigned, but the signed transactions have not been uploaded.
    pub unregistered: Total,
    /// Locked until its owner completes a round. Not counted if the owner never can, because the inputs are exited.
    pub unclaimed: Total,
    /// Granted from the server's pool for a Lightning receive, and not claimed. No client owns one before it claims it.
    pub granted: Total,
    /// Spent off chain.
    pub spent: Total,
    /// Exited by its owner, and unspent or the input of a round that the owner did not complete.
    pub exited: Total,
}

impl Total {
    fn add(&mut self, amount: Amount) {
        self.count += 1;
        self.amount += amount;
    }

    fn subtract(&mut self, amount: Amount) {
        self.count -= 1;
        self.amount -= amount;
    }
}

impl Store {
    /// Totals of this moment.
    pub fn ledger(&self) -> anyhow::Result<Ledger> {
        let mut ledger = self.totals_by_state()?;
        for participation in self.unreleased_participations()? {
            let inputs = self.vtxos(&participation.inputs)?;
            let is_exited = |input: &VtxoRecord| {
                input.spent_by == participation.round && input.exited_height.is_some()
            };
            if !inputs.iter().all(is_exited) {
                continue;
            }
            for input in inputs {
                ledger.spent.subtract(input.vtxo.amount());
                ledger.exited.add(input.vtxo.amount());
            }
            for output in self.vtxos(&self.outputs_of(&participation)?)? {
                ledger.unclaimed.subtract(output.vtxo.amount());
            }
        }
        Ok(ledger)
    }

    fn vtxos(&self, ids: &[VtxoId]) -> anyhow::Result<Vec<VtxoRecord>> {
        let vtxos = ids.iter();
        vtxos
            .map(|id| self.vtxo(*id)?.context("VTXO is lost"))
            .collect()
    }

    fn totals_by_state(&self) -> anyhow::Result<Ledger> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT state, exited_height IS NOT NULL, COUNT(*), SUM(amount_sat)
             FROM vtxo WHERE state <> 'internal' GROUP BY 1, 2",
        )?;
        let mut rows = statement.query([])?;
        let mut ledger = Ledger::default();
        while let Some(row) = rows.next()? {
            let total = match row.get::<_, String>(0)?.parse()? {
                VtxoState::Spent | VtxoState::LnSpent => &mut ledger.spent,
                _ if row.get(1)? => &mut ledger.exited,
                VtxoState::Spendable => &mut ledger.spendable,
                VtxoState::Unregistered => &mut ledger.unregistered,
                VtxoState::Unclaimed => &mut ledger.unclaimed,
                VtxoState::HtlcRecvUnclaimed => &mut ledger.granted,
                VtxoState::Internal => continue,
            };
            total.count += row.get::<_, u32>(2)?;
            total.amount += Amount::from_sat(u64::try_from(row.get::<_, i64>(3)?)?);
        }
        Ok(ledger)
    }

    /// Sums of Lightning VTXOs.
    pub fn lightning_sums(&self) -> anyhow::Result<LightningSums> {
        let connection = self.lock();
        let sum = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        const GRANTED: &str = "SELECT COALESCE(SUM(vtxo.amount_sat), 0)
             FROM ln_receive_htlc JOIN vtxo ON id = vtxo JOIN ln_receive USING (hash)
             WHERE ln_receive.status";
        Ok(LightningSums {
            taken: sum("SELECT COALESCE(SUM(amount_sat), 0) FROM vtxo WHERE state = 'ln-spent'")?,
            granted: sum(&format!("{GRANTED} = 'settled'"))?,
            granted_open: sum(&format!("{GRANTED} <> 'settled'"))?,
        })
    }
}

/// Sums of Lightning VTXOs, in sat.
#[derive(Debug, Clone, Copy)]
pub struct LightningSums {
    /// HTLCs of clients that the server took.
    pub taken: i64,
    /// HTLCs that were granted to receives which are settled.
    pub granted: i64,
    /// HTLCs that were granted to other receives.
    pub granted_open: i64,
}
