//! The step that hands over the forfeits for the signed transaction.

use std::time::Duration;

use ark_lib::offboard::OffboardForfeitContext;
use bitcoin::Transaction;
use bitcoin::consensus::encode::serialize_hex;

use super::{IN_DOUBT, Offboard, OffboardOrder, PreparedOrder, PriorTx, SignedOffboard};
use crate::ark;
use crate::chain::TxStatus;
use crate::model::{Fact, OperationId};
use crate::wallet::engine::steps::end;
use crate::wallet::engine::{Next, Step, attention, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// How long the server gets to broadcast a transaction whose session it reports as lost.
const LOST_SESSION_PAUSE: Duration = Duration::from_secs(30);

/// Hands over the forfeits, with fresh nonces each time, for the signed transaction. From here on no refusal releases the inputs.
pub(super) async fn finish(
    wallet: &Wallet,
    id: &OperationId,
    prepared: PreparedOrder,
) -> Result<Step<Offboard>> {
    let (inputs, keys): (Vec<_>, Vec<_>) = wallet
        .signers(prepared.order.inputs.clone())
        .await?
        .into_iter()
        .unzip();
    let nonces: Vec<_> = prepared.nonces.iter().map(|nonce| nonce.0).collect();
    let signatures = OffboardForfeitContext::new(&inputs, &prepared.transaction)
        .and_then(|context| context.user_sign_forfeits(&keys, &nonces))
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
    let txid = prepared.transaction.compute_txid();
    let mut candidates = prepared.prior;
    candidates.push(PriorTx::Full(prepared.transaction));
    let signed = match wallet.server.finish_offboard(txid, &signatures).await {
        Ok(signed) => signed,
        Err(ark::Error::Rejected { message, .. }) => {
            if let Some(found) = find(wallet, &candidates).await? {
                return Ok(accept_signed(id, prepared.order, found));
            }
            tracing::warn!(%txid, message, "server has lost an offboard session; searching for its transaction");
            let again = Offboard::Prepare {
                order: prepared.order,
                prior: candidates,
            };
            return Ok(Step::commit(
                CommitPoint::OffboardSessionLost,
                Next::Later(again, LOST_SESSION_PAUSE),
                |_| Ok(()),
            ));
        }
        Err(error) => {
            // The transaction may be broadcast although the answer is lost (H28).
            if let Some(found) = find(wallet, &candidates).await? {
                return Ok(accept_signed(id, prepared.order, found));
            }
            return Err(error.into());
        }
    };
    let complete = signed
        .input
        .iter()
        .all(|input| !input.witness.is_empty() || !input.script_sig.is_empty());
    if signed.compute_txid() != txid || !complete {
        return Err(Error::unavailable(
            "server_unavailable",
            "the Ark server's signed transaction is not the one that was agreed on; requesting it again",
        ));
    }
    Ok(accept_signed(id, prepared.order, signed))
}

/// The first of these transactions that the chain backend knows.
pub(super) async fn find(wallet: &Wallet, prior: &[PriorTx]) -> Result<Option<Transaction>> {
    for txid in prior.iter().map(PriorTx::txid) {
        if wallet.chain.status(txid).await? != TxStatus::NotFound
            && let Some(found) = wallet.chain.transaction(txid).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Stores a signed transaction, or one found on the chain, that fulfils the order.
pub(super) fn accept_signed(
    id: &OperationId,
    order: OffboardOrder,
    transaction: Transaction,
) -> Step<Offboard> {
    let facts = [
        (
            Fact::OffboardTxid,
            transaction.compute_txid().to_string().into(),
        ),
        (Fact::OffboardTx, serialize_hex(&transaction).into()),
    ];
    let signed = SignedOffboard {
        inputs: order.inputs,
        transaction,
        signed_at: clock::now_millis(),
    };
    let id = id.clone();
    Step::commit(
        CommitPoint::OffboardSigned,
        Next::State(Offboard::Broadcast(signed)),
        move |tx| {
            attention::clear(tx, IN_DOUBT, id.as_str())?;
            end::note(tx, &id, facts)
        },
    )
}
