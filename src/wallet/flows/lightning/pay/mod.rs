//! The states and steps of the flow.

mod resolve;

use ark_lib::lightning::{PaymentHash, Preimage};
use serde::{Deserialize, Serialize};

use crate::model::{OperationId, OperationKind};
use crate::store::WriteTx;
use crate::wallet::engine::{Flow, Step, Tries};
use crate::wallet::{Error, Result, Wallet};

pub(in crate::wallet) use resolve::Payable;

/// How far a payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum LightningSend {
    /// Not begun.
    Start,
}

impl Flow for LightningSend {
    const KIND: OperationKind = OperationKind::LightningSend;

    async fn step(self, _: &Wallet, _: &OperationId, _: Tries) -> Result<Step<LightningSend>> {
        Err(Error::internal(anyhow::anyhow!("not built yet")))
    }

    fn answers_caller(&self) -> bool {
        false
    }
}

/// Stores the preimage of a payment, which proves that it succeeded; the payment's own step reads it. A preimage that fits no payment
/// of this wallet is ignored.
pub(in crate::wallet) fn note_preimage(
    _tx: &WriteTx<'_>,
    _hash: PaymentHash,
    _preimage: Preimage,
) -> Result<()> {
    Ok(())
}
