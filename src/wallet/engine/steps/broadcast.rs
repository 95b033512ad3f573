//! Broadcasting a transaction, following its confirmations, and broadcasting it again when it vanishes.

use std::collections::HashSet;
use std::time::Duration;

use bitcoin::{Transaction, Txid};

use crate::chain::{BroadcastError, TxStatus};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The pause before a vanished transaction is broadcast again, so that a lagging chain backend, which accepts a transaction
/// and then does not find it, is not polled in a tight loop.
const VANISHED_PAUSE: Duration = Duration::from_secs(3);

/// What came of broadcasting a transaction.
pub(in crate::wallet) enum Broadcast {
    /// The transaction is in the mempool or in a block.
    Out,
    /// A confirmed transaction has spent one of its inputs, or one of an unconfirmed parent: it can never confirm.
    DoubleSpent,
    /// The network does not take it, for a reason that may pass.
    Failed(BroadcastError),
}

/// Broadcasts a transaction unless the chain backend knows it.
///
/// # Errors
/// `chain_unavailable`.
pub(in crate::wallet) async fn broadcast(
    wallet: &Wallet,
    transaction: &Transaction,
) -> Result<Broadcast> {
    let chain = &wallet.chain;
    if chain.status(transaction.compute_txid()).await? != TxStatus::NotFound {
        return Ok(Broadcast::Out);
    }
    match chain
        .broadcast_package(std::slice::from_ref(transaction))
        .await
    {
        Ok(()) => Ok(Broadcast::Out),
        Err(BroadcastError::MissingOrSpent) if coins_are_gone(wallet, transaction).await? => {
            Ok(Broadcast::DoubleSpent)
        }
        Err(error) => Ok(Broadcast::Failed(error)),
    }
}

/// Whether a transaction can never confirm: another, confirmed transaction spends an input of it, or of a transaction of the on-chain
/// wallet that it spends from and that the chain backend does not know (H7).
///
/// # Errors
/// `chain_unavailable`.
pub(in crate::wallet) async fn coins_are_gone(
    wallet: &Wallet,
    transaction: &Transaction,
) -> Result<bool> {
    let (mut line, mut seen) = (vec![transaction.clone()], HashSet::new());
    while let Some(transaction) = line.pop() {
        if wallet.chain.is_double_spent(&transaction).await? {
            return Ok(true);
        }
        for input in &transaction.input {
            let parent = input.previous_output.txid;
            if seen.insert(parent)
                && let Some(parent_tx) = wallet.onchain.transaction(parent)
                && wallet.chain.status(parent).await? == TxStatus::NotFound
            {
                line.push(parent_tx);
            }
        }
    }
    Ok(false)
}

/// The error of a step whose transaction could not be broadcast; `what` names the transaction.
pub(in crate::wallet) fn not_broadcast(what: &str, txid: Txid, error: &BroadcastError) -> Error {
    Error::unavailable(
        "chain_unavailable",
        format!("the {what} transaction {txid} could not be broadcast; trying again: {error}"),
    )
}

/// How deep a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Depth {
    /// It has the confirmations that are needed.
    Reached,
    /// It is known, and needs more confirmations.
    Waiting,
    /// The chain backend does not know it.
    Vanished,
}

/// Compares a transaction's confirmations with the number that is needed; 0 is satisfied by the mempool.
///
/// # Errors
/// `chain_unavailable`.
pub(in crate::wallet) async fn depth(wallet: &Wallet, txid: Txid, needed: u32) -> Result<Depth> {
    Ok(match wallet.chain.confirmations(txid).await? {
        None => {
            tracing::warn!(%txid, "transaction not found; broadcasting it again");
            Depth::Vanished
        }
        Some(confirmations) if confirmations < needed => Depth::Waiting,
        Some(_) => Depth::Reached,
    })
}

/// Goes back to `state`, which broadcasts, after a pause.
pub(in crate::wallet) fn broadcast_again<F>(point: CommitPoint, state: F) -> Step<F> {
    Step::commit(point, Next::Later(state, VANISHED_PAUSE), |_| Ok(()))
}
