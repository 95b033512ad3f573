//! What Lightning moved, so that a test can check that money is conserved.

use serde::Serialize;

use super::super::state::Ark;
use super::super::store::ReceiveStatus;
use crate::lightning::Totals;

/// Totals of all Lightning payments. What clients gave and the world paid in, less what the world got and clients were granted, is
/// what the server earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LightningLedger {
    /// HTLC-send VTXOs that the server took for their preimage, in sat.
    pub taken_sat: i64,
    /// HTLC-recv VTXOs of settled receives, in sat.
    pub granted_sat: i64,
    /// HTLC-recv VTXOs of other receives, in sat.
    pub granted_open_sat: i64,
    /// Fees and surplus that the server keeps, in msat.
    pub earned_msat: i64,
    /// What passed between the server's node and the world.
    #[serde(flatten)]
    pub network: Totals,
    /// What the node holds of payments that the server has canceled, in msat. The payers get it back shortly before its HTLCs expire.
    pub stranded_msat: u64,
}

impl Ark {
    /// Totals of this moment.
    pub(in super::super) fn lightning_ledger(&self) -> anyhow::Result<LightningLedger> {
        let network = self.lightning.network.totals()?;
        let sums = self.store.lightning_sums()?;
        Ok(LightningLedger {
            taken_sat: sums.taken,
            granted_sat: sums.granted,
            granted_open_sat: sums.granted_open,
            earned_msat: (sums.taken - sums.granted) * 1_000 + network.received_msat
                - network.sent_msat,
            network,
            stranded_msat: self.stranded_msat()?,
        })
    }

    fn stranded_msat(&self) -> anyhow::Result<u64> {
        let network = &self.lightning.network;
        let mut stranded = 0;
        for hash in network.held()? {
            let receive = self.store.receive(hash)?;
            if receive.is_some_and(|receive| receive.status == ReceiveStatus::Canceled) {
                let hold = network.hold(hash)?;
                stranded += hold.and_then(|hold| hold.paid_msat).unwrap_or_default();
            }
        }
        Ok(stranded)
    }
}
