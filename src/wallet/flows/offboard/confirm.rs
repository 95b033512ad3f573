//! The steps from the signed offboard transaction to its confirmation.

use super::{Offboard, SignedOffboard};
use crate::chain::BroadcastError;
use crate::model::OperationId;
use crate::wallet::engine::steps::broadcast::{self, Broadcast, Depth, broadcast_again};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Broadcasts the transaction.
pub(super) async fn broadcast(wallet: &Wallet, signed: SignedOffboard) -> Result<Step<Offboard>> {
    match broadcast::broadcast(wallet, &signed.transaction).await? {
        Broadcast::Out => Ok(Step::commit(
            CommitPoint::OffboardBroadcast,
            Next::State(Offboard::Confirm(signed)),
            |_| Ok(()),
        )),
        // A reorganisation may still confirm it, and with it the forfeits: the inputs stay locked (H29).
        Broadcast::DoubleSpent => Err(not_broadcast(
            wallet,
            &signed,
            &BroadcastError::MissingOrSpent,
        )),
        Broadcast::Failed(error) => Err(not_broadcast(wallet, &signed, &error)),
    }
}

/// Marks the inputs as spent once the transaction is deep enough.
pub(super) async fn confirm(
    wallet: &Wallet,
    id: &OperationId,
    signed: SignedOffboard,
) -> Result<Step<Offboard>> {
    let needed = u32::from(wallet.settings.offboard_confirmations);
    let txid = signed.transaction.compute_txid();
    match broadcast::depth(wallet, txid, needed).await? {
        Depth::Reached => {}
        Depth::Waiting => {
            // The change is the wallet's before the transaction confirms.
            wallet.vtxos_arrived.notify_one();
            return Ok(Step::AwaitBlock);
        }
        Depth::Vanished => {
            return Ok(broadcast_again(
                CommitPoint::OffboardSigned,
                Offboard::Broadcast(signed),
            ));
        }
    }
    let id = id.clone();
    Ok(Step::commit(
        CommitPoint::OffboardSettled,
        Next::Done,
        move |tx| {
            end::spend_forfeited(tx, &signed.inputs)?;
            end::succeed(tx, &id)
        },
    ))
}

/// The error of an offboard transaction that could not be broadcast. The server can still confirm it, so nothing is released;
/// after the grace period the log asks for an operator (H29).
fn not_broadcast(wallet: &Wallet, signed: &SignedOffboard, error: &BroadcastError) -> Error {
    let txid = signed.transaction.compute_txid();
    let waited = clock::now_millis().saturating_sub(signed.signed_at);
    let grace = wallet.settings.offboard_grace.as_millis();
    if u128::try_from(waited).is_ok_and(|waited| waited > grace) {
        tracing::error!(%txid, %error, "offboard transaction is lost; its VTXOs stay locked, because the Ark server can still confirm it. Ask the server's operator, or exit the VTXOs; the wallet does so before they expire");
    }
    broadcast::not_broadcast("offboard", txid, error)
}
