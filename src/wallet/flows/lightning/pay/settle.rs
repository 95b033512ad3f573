//! The settlement of a payment with its preimage.

use ark_lib::lightning::Preimage;

use super::{Htlcs, LightningSend, facts};
use crate::model::{Fact, OperationId};
use crate::store::{lightning_send, vtxo};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::steps::exited::is_exited;
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Result};

/// Ends a payment with its proof.
pub(super) fn settle(
    id: &OperationId,
    htlcs: &Htlcs,
    preimage: Preimage,
) -> Result<Step<LightningSend>> {
    let (id, ids, hash) = (id.clone(), htlcs.ids.clone(), htlcs.order.hash());
    Ok(Step::commit(
        CommitPoint::LightningSendSettled,
        Next::Done,
        move |tx| {
            lightning_send::set_preimage(tx, hash, preimage)?;
            for htlc in &ids {
                // An exited one is the server's when it claims it with the preimage.
                if !is_exited(tx, *htlc)? {
                    vtxo::spend_held(tx, *htlc, &id)?;
                }
            }
            facts::clear(tx, &id)?;
            end::note(
                tx,
                &id,
                [(Fact::PaymentPreimage, preimage.to_string().into())],
            )?;
            end::succeed(tx, &id)
        },
    ))
}
