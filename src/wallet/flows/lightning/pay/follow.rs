//! The step that follows a payment to its end.

use std::time::Duration;

use super::settle::settle;
use super::standing::{Standing, standing};
use super::{Htlcs, LightningSend, revoke};
use crate::model::OperationId;
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Pauses between two questions how the payment stands: in its first minute, and later. A message of the mailbox ends the pause.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LATER_PAUSE: Duration = Duration::from_secs(5);
const FIRST_MINUTE: Duration = Duration::from_secs(60);

/// How long the server may know nothing of a payment that it took. In the tests it is short.
const LOST_AFTER: Duration = if cfg!(feature = "failpoints") {
    Duration::from_secs(3)
} else {
    Duration::from_secs(60)
};

/// How often the server may lose a payment before it comes back.
const MOST_LOST: u32 = 3;

/// Follows the payment until its end is known.
pub(super) async fn follow(
    wallet: &Wallet,
    id: &OperationId,
    htlcs: Htlcs,
    lost: u32,
    since: i64,
) -> Result<Step<LightningSend>> {
    let age = Duration::from_millis(
        u64::try_from(clock::now_millis().saturating_sub(since)).unwrap_or(0),
    );
    match standing(wallet, id, &htlcs.order).await? {
        Standing::Paid(preimage) => return settle(id, &htlcs, preimage),
        Standing::Failed(reason) => return Ok(revoke::begin(htlcs, reason)),
        Standing::Unknown if age >= LOST_AFTER && lost >= MOST_LOST => {
            let reason = "the Ark server takes it, but does not begin it".to_owned();
            return Ok(revoke::begin(htlcs, reason));
        }
        Standing::Unknown if age >= LOST_AFTER => return Ok(initiate_again(htlcs, lost)),
        Standing::Unknown | Standing::Pending => {}
    }
    if revoke::is_expired(wallet, &htlcs.order).await {
        let reason = "it did not succeed before its HTLCs expired".to_owned();
        return Ok(revoke::begin(htlcs, reason));
    }
    // The change is the wallet's while the payment goes on.
    wallet.vtxos_arrived.notify_one();
    Ok(Step::AwaitNudge(if age < FIRST_MINUTE {
        FIRST_PAUSE
    } else {
        LATER_PAUSE
    }))
}

fn initiate_again(htlcs: Htlcs, lost: u32) -> Step<LightningSend> {
    let lost = lost.saturating_add(1);
    Step::commit(
        CommitPoint::LightningSendLost,
        Next::State(LightningSend::Initiate { htlcs, lost }),
        |_| Ok(()),
    )
}
