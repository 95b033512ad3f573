//! The step that follows a payment to its end, and the settlement with the preimage.

use std::time::Duration;

use ark_lib::lightning::Preimage;

use super::{Htlcs, LightningSend, Order, revoke};
use crate::ark::PaymentStatus;
use crate::model::{Attention, OperationId};
use crate::store::{WriteTx, lightning_send, vtxo};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, attention, clock};
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

/// The code of the fact that the server tells a preimage that proves nothing.
pub(super) const WRONG_PREIMAGE: &str = "wrong_preimage";

/// How a payment stands.
pub(super) enum Standing {
    /// The server knows nothing of it.
    Unknown,
    /// It is under way, or the server does not prove that it succeeded.
    Pending,
    /// It succeeded; the preimage fits the hash.
    Paid(Preimage),
    /// It failed, for this reason.
    Failed(String),
}

/// The preimage of the payment, if it came with the mailbox.
pub(super) async fn known_preimage(wallet: &Wallet, order: &Order) -> Result<Option<Preimage>> {
    let hash = order.hash();
    let row = wallet
        .store
        .read(move |connection| lightning_send::get(connection, hash))
        .await?;
    Ok(row.and_then(|row| row.preimage))
}

/// Asks how the payment stands. A preimage counts only if it fits the hash.
///
/// # Errors
/// `server_unavailable`; the database's.
pub(super) async fn standing(wallet: &Wallet, id: &OperationId, order: &Order) -> Result<Standing> {
    if let Some(preimage) = known_preimage(wallet, order).await? {
        return Ok(Standing::Paid(preimage));
    }
    Ok(
        match wallet.server.lightning_payment_status(order.hash()).await? {
            PaymentStatus::Unknown => Standing::Unknown,
            PaymentStatus::Pending => Standing::Pending,
            PaymentStatus::Failed(reason) => Standing::Failed(reason.into()),
            PaymentStatus::Paid(preimage) if preimage.compute_payment_hash() == order.hash() => {
                Standing::Paid(preimage)
            }
            PaymentStatus::Paid(_) => {
                wallet.raise(wrong_preimage(id)).await?;
                Standing::Pending
            }
        },
    )
}

fn wrong_preimage(id: &OperationId) -> Attention {
    Attention {
        code: WRONG_PREIMAGE.into(),
        subject: id.to_string(),
        message: "The Ark server says that this Lightning payment succeeded, but its preimage does not fit the payment hash, so nothing proves it. The coins stay locked until the server proves the payment, or gives them back after they expire.".into(),
        what_to_do: "Ask the payee whether the payment arrived, and the operator of the Ark server for the preimage.".into(),
    }
}

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
    let standing = standing(wallet, id, &htlcs.order).await?;
    match standing {
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
                vtxo::spend_held(tx, *htlc, &id)?;
            }
            clear_facts(tx, &id)?;
            end::note(tx, &id, [("payment_preimage", preimage.to_string().into())])?;
            end::succeed(tx, &id)
        },
    ))
}

/// Removes what a payment that has ended told the operator.
pub(super) fn clear_facts(tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
    for code in [WRONG_PREIMAGE, revoke::STUCK] {
        attention::clear(tx, code, id.as_str())?;
    }
    Ok(())
}
