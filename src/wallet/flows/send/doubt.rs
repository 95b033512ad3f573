//! What became of a payment that the server refuses although an earlier try may have reached it.

use server_rpc::protos::VtxoSpendState;

use super::Payment;
use crate::model::OperationId;
use crate::wallet::{Error, Result, Wallet};

/// Why a payment fails whose inputs the server has given to a round before.
pub(in crate::wallet) const TAKEN_BY_ROUND: &str =
    "a refresh of these coins has just happened; pay again when it is done";

/// What the server holds of the inputs of a payment.
pub(in crate::wallet) enum Holding {
    /// They are unspent: the payment has not happened.
    Unspent,
    /// They are unspent, and the server lacks the signed chains that it had once.
    Unregistered,
    /// They went into a round of ours: the payment has not happened, and will not.
    TakenByRound,
    /// They are spent by this very payment, and asking for the same spend again brings the signatures; or by a round of ours
    /// that we have not heard of yet.
    Spent,
}

/// Asks the server what it holds of an input. A payment's inputs are spent together or not at all, so one tells for all.
///
/// # Errors
/// `server_unavailable`, also when the server's answer settles nothing.
pub(in crate::wallet) async fn holding(
    wallet: &Wallet,
    id: &OperationId,
    payment: &Payment,
    refusal: &str,
) -> Result<Holding> {
    let first = payment.inputs.iter().take(1).copied().collect();
    let signers = wallet.signers(first).await?;
    let Some((input, key)) = signers.first() else {
        return Ok(Holding::Unspent);
    };
    match wallet.server.vtxo_status(input.id(), key).await? {
        VtxoSpendState::Spendable => Ok(Holding::Unspent),
        VtxoSpendState::Unregistered => Ok(Holding::Unregistered),
        VtxoSpendState::Spent if !wallet.holds(id, &payment.inputs).await? => {
            Ok(Holding::TakenByRound)
        }
        VtxoSpendState::Spent => {
            wallet.round_events.wake();
            tracing::warn!(
                refusal,
                "the server refuses to sign, yet holds the payment's inputs for spent; asking again"
            );
            Ok(Holding::Spent)
        }
        other => Err(Error::unavailable(
            "server_unavailable",
            format!("the Ark server holds an input for {other:?}: {refusal}"),
        )),
    }
}
