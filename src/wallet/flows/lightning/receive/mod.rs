//! The states and steps of the flow.

use ark_lib::lightning::PaymentHash;
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::store::WriteTx;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Error, Result, Wallet};

/// How far the claim of a payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum LightningReceive {
    /// Not begun.
    Start,
}

impl Flow for LightningReceive {
    const KIND: OperationKind = OperationKind::LightningReceive;

    async fn step(self, _: &Wallet, _: &OperationId, _: Tries) -> Result<Step<LightningReceive>> {
        Err(Error::internal(anyhow::anyhow!("not built yet")))
    }

    fn answers_caller(&self) -> bool {
        false
    }
}

/// Writes the operation that claims the payment of one of our invoices, unless it was written before. Returns its id; the caller has
/// to [take it up](Wallet::take_up) when that is durable.
pub(in crate::wallet) fn accept(
    _tx: &WriteTx<'_>,
    _hash: PaymentHash,
) -> Result<Option<OperationId>> {
    Ok(None)
}
