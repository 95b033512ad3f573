//! The steps from the order to the signed transaction.

use std::time::Duration;

use ark_lib::attestations::OffboardRequestAttestation;
use ark_lib::musig::PublicNonce;
use ark_lib::offboard::{OffboardForfeitContext, OffboardForfeitError};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::{Transaction, Txid};
use server_rpc::TryFromBytes;

use super::{Offboard, Order, Prepared, Settling, abort, refused};
use crate::ark::{self, PreparedOffboard};
use crate::chain::TxStatus;
use crate::model::OperationId;
use crate::store::movement;
use crate::store::vtxo;
use crate::wallet::engine::clock;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Failures after which an offboard that the server cannot know of yet is called off.
const MAX_FAILURES_BEFORE_PREPARE: u32 = 3;
/// How long the server gets to bring out a transaction whose session it says it has lost.
const LOST_SESSION_PAUSE: Duration = Duration::from_secs(30);
/// Refusals that say something about the request itself, and so that the inputs were free to be looked at: the server checks
/// these only after it has found every input unspent.
const PROOFS_OF_UNSPENT: [&str; 3] = [
    "fee rate is no longer valid",
    "does not match expected amount",
    "output address is blocked",
];

pub(super) async fn register_whole(
    wallet: &Wallet,
    id: &OperationId,
    order: Order,
    tries: Tries,
) -> Result<Step<Offboard>> {
    let inputs = wallet.full_vtxos(order.inputs.clone()).await?;
    match wallet.server.register_chains(&inputs).await {
        Ok(()) => {}
        Err(ark::Error::Rejected { message, .. }) => return Ok(abort(id, refused(&message))),
        Err(error) if tries.failed >= MAX_FAILURES_BEFORE_PREPARE => {
            return Ok(abort(id, error.into()));
        }
        Err(error) => return Err(error.into()),
    }
    let registered = order.inputs.clone();
    Ok(Step::commit(
        CommitPoint::OffboardReady,
        Next::State(Offboard::Prepare {
            order,
            prior: Vec::new(),
        }),
        move |tx| Ok(vtxo::set_registered(tx, &registered, true)?),
    ))
}

/// Asks for the transaction. Nothing is given up by asking; only a `prior` session makes a refusal dangerous to believe.
pub(super) async fn prepare(
    wallet: &Wallet,
    id: &OperationId,
    order: Order,
    prior: Vec<Txid>,
    tries: Tries,
) -> Result<Step<Offboard>> {
    if let Some(found) = find(wallet, &prior).await? {
        return Ok(adopt(id, order, found));
    }
    let inputs = wallet.signers(order.inputs.clone()).await?;
    let attestations: Vec<_> = inputs
        .iter()
        .map(|(_, key)| OffboardRequestAttestation::new(&order.request, &order.inputs, key))
        .collect();
    let prepared = wallet
        .server
        .prepare_offboard(&order.request, &order.inputs, &attestations)
        .await;
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(ark::Error::Rejected { message, .. }) => {
            let unspent = PROOFS_OF_UNSPENT
                .iter()
                .any(|proof| message.contains(proof));
            if prior.is_empty() || unspent {
                return Ok(abort(id, refused(&message)));
            }
            return Err(lost(&message));
        }
        Err(error) if prior.is_empty() && tries.failed >= MAX_FAILURES_BEFORE_PREPARE => {
            return Ok(abort(id, error.into()));
        }
        Err(error) => return Err(error.into()),
    };
    // Checked before it is kept: what was kept is signed (H30).
    if let Err(reason) = check(&order, &prepared) {
        tracing::error!(%reason, "the server's offboard is not what was ordered; it is not signed");
        let reason = format!("its transaction is not what was ordered: {reason}");
        if prior.is_empty() {
            return Ok(abort(id, refused(&reason)));
        }
        return Err(lost(&reason));
    }
    let nonces = prepared.nonces.iter();
    let next = Prepared {
        nonces: nonces
            .map(|nonce| nonce.serialize().to_lower_hex_string())
            .collect(),
        transaction: prepared.transaction,
        order,
        prior,
    };
    let (id, txid) = (id.clone(), next.transaction.compute_txid());
    Ok(Step::commit(
        CommitPoint::OffboardPrepared,
        Next::State(Offboard::Finish(next)),
        move |tx| note(tx, &id, [("offboard_txid", txid.to_string())]),
    ))
}

fn check(order: &Order, prepared: &PreparedOffboard) -> Result<(), String> {
    let nonces = prepared.nonces.len();
    OffboardForfeitError::check_count("forfeit nonces", order.inputs.len(), nonces)
        .map_err(|error| error.to_string())?;
    OffboardForfeitContext::new(&order.inputs, &prepared.transaction)
        .map_err(|error| error.to_string())?
        .validate_offboard_tx(&order.request)
        .map_err(|error| error.to_string())?;
    let inputs = &prepared.transaction.input;
    let distinct: std::collections::HashSet<_> =
        inputs.iter().map(|input| input.previous_output).collect();
    if inputs.is_empty() || distinct.len() < inputs.len() {
        return Err("its inputs make no sense".into());
    }
    // Signing must not change its id, which the forfeits hang from.
    if inputs.iter().any(|input| !input.script_sig.is_empty()) {
        return Err("it is not a segwit transaction".into());
    }
    Ok(())
}

/// Hands over the forfeits, with fresh nonces of our own each time. From here on no refusal frees the inputs.
pub(super) async fn finish(
    wallet: &Wallet,
    id: &OperationId,
    prepared: Prepared,
) -> Result<Step<Offboard>> {
    let (inputs, keys): (Vec<_>, Vec<_>) = wallet
        .signers(prepared.order.inputs.clone())
        .await?
        .into_iter()
        .unzip();
    let nonces = prepared
        .nonces
        .iter()
        .map(|hex| {
            let bytes = Vec::<u8>::from_hex(hex).map_err(Error::internal)?;
            PublicNonce::from_bytes(bytes)
                .map_err(|error| Error::internal(anyhow::anyhow!("{error:?}")))
        })
        .collect::<Result<Vec<_>>>()?;
    let signatures = OffboardForfeitContext::new(&inputs, &prepared.transaction)
        .and_then(|context| context.user_sign_forfeits(&keys, &nonces))
        .map_err(|error| Error::internal(anyhow::Error::new(error)))?;
    let txid = prepared.transaction.compute_txid();
    let mut candidates = prepared.prior;
    candidates.push(txid);
    let signed = match wallet.server.finish_offboard(txid, &signatures).await {
        Ok(signed) => signed,
        Err(ark::Error::Rejected { message, .. }) => {
            if let Some(found) = find(wallet, &candidates).await? {
                return Ok(adopt(id, prepared.order, found));
            }
            tracing::warn!(%txid, message, "the server has lost the session of an offboard; its transaction is looked for");
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
            // It may be out already, whatever became of the answer (H28).
            if let Some(found) = find(wallet, &candidates).await? {
                return Ok(adopt(id, prepared.order, found));
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
            "the Ark server's signed transaction is not the one that was agreed on; it is asked for again",
        ));
    }
    Ok(adopt(id, prepared.order, signed))
}

/// The first of these transactions that the chain knows.
async fn find(wallet: &Wallet, txids: &[Txid]) -> Result<Option<Transaction>> {
    for txid in txids {
        if wallet.chain.status(*txid).await? != TxStatus::NotFound
            && let Some(found) = wallet.chain.transaction(*txid).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Takes a signed transaction for the one that settles the order.
fn adopt(id: &OperationId, order: Order, transaction: Transaction) -> Step<Offboard> {
    let facts = [
        ("offboard_txid", transaction.compute_txid().to_string()),
        (
            "offboard_tx",
            bitcoin::consensus::encode::serialize_hex(&transaction),
        ),
    ];
    let settling = Settling {
        inputs: order.inputs,
        transaction,
        since: clock::now_millis(),
    };
    let id = id.clone();
    Step::commit(
        CommitPoint::OffboardSigned,
        Next::State(Offboard::Broadcast(settling)),
        move |tx| note(tx, &id, facts),
    )
}

fn note<const N: usize>(
    tx: &crate::store::WriteTx<'_>,
    id: &OperationId,
    facts: [(&'static str, String); N],
) -> Result<()> {
    if let Some(movement) = movement::id_of_operation(tx, id)? {
        let facts = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()));
        movement::note(tx, movement, facts.collect(), clock::now_millis())?;
    }
    Ok(())
}

/// The server has our forfeits for a transaction that nobody can find. It may still bring it out, so the inputs stay locked.
fn lost(reason: &str) -> Error {
    Error::unavailable(
        "offboard_in_doubt",
        format!(
            "the Ark server has lost the offboard, and its transaction is not on the chain; the coins stay locked and it is looked for: {reason}"
        ),
    )
}
