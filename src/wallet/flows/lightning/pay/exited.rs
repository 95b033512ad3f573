//! Payments whose HTLCs are on chain (H22).

use std::time::Duration;

use super::settle::settle;
use super::standing::{Standing, known_preimage, standing};
use super::{Htlcs, LightningSend, facts};
use crate::model::{MovementStatus, OperationId};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::steps::exited::{Exited, exited};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The pause between two questions to the server, which may still learn the preimage.
const PAUSE: Duration = Duration::from_secs(5);

/// The step of a payment whose HTLCs are all exited; `None` if one is not. The server can neither revoke them nor sign anything else for
/// them. The preimage settles the payment, wherever it comes from; without it, the payment has failed when the wallet has claimed them.
pub(super) async fn go_on(
    wallet: &Wallet,
    id: &OperationId,
    htlcs: &Htlcs,
) -> Result<Option<Step<LightningSend>>> {
    let exits = exited(wallet, &htlcs.ids).await?;
    if matches!(exits, Exited::None | Exited::Some) {
        return Ok(None);
    }
    // The exit stores the preimage of the server's claim before it counts the HTLC as claimed.
    if let Some(preimage) = known_preimage(wallet, &htlcs.order).await? {
        return settle(id, htlcs, preimage).map(Some);
    }
    if exits == Exited::Claimed {
        return Ok(Some(failed(id)));
    }
    match standing(wallet, id, &htlcs.order).await {
        Ok(Standing::Paid(preimage)) => settle(id, htlcs, preimage).map(Some),
        Ok(Standing::Unknown | Standing::Pending | Standing::Failed(_)) => {
            Ok(Some(Step::AwaitNudge(PAUSE)))
        }
        Err(error) => {
            tracing::debug!(%error, "the Ark server does not say how a payment stands whose HTLCs are on chain");
            Ok(Some(Step::AwaitNudge(PAUSE)))
        }
    }
}

/// Ends a payment whose coins came back on chain.
fn failed(id: &OperationId) -> Step<LightningSend> {
    let id = id.clone();
    let message = "the payment failed, and its coins are in the on-chain wallet: they were exited";
    Step::commit(
        CommitPoint::LightningSendReturned,
        Next::Failed(Error::conflict("payment_failed", message)),
        move |tx| {
            facts::clear(tx, &id)?;
            end::fail_movement(tx, &id, MovementStatus::Failed)
        },
    )
}
