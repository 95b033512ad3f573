//! Bodies and states of candidates: many in one call, or one by one from a server that lacks these calls or refuses one of many.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::secp256k1::Keypair;
use futures::{StreamExt, stream};

use super::Recovery;
use super::judge::FOREIGN;
use super::scan::{leave_out, pass};
use crate::ark;
use crate::model::{OpenCandidate, OperationId, Verdict};
use crate::store::recovery::{self, Open};
use crate::wallet::account::keys as account_keys;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Bodies that are fetched with one call.
const BODIES: u32 = 250;
/// States that are asked for with one call.
const STATES: u32 = 500;
/// Calls at the same time, where each is about one VTXO.
const SINGLE_CALLS: usize = 8;
/// Tries after which the wallet does without an answer for now.
const MAX_TRIES: u32 = 3;
/// The pause before what has no answer is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn bodies(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
) -> Result<Step<Recovery>> {
    let missing = open(wallet, id, Open::WithoutBody, MAX_TRIES, BODIES).await?;
    if missing.is_empty() {
        let id = id.clone();
        return Ok(Step::commit(
            CommitPoint::RecoveryFetched,
            Next::State(Recovery::States),
            move |tx| {
                let reason = "the Ark server does not send a VTXO with this id";
                Ok(recovery::give_up_missing(tx, &id, reason)?)
            },
        ));
    }
    let ids: Vec<VtxoId> = missing.iter().map(|it| it.id).collect();
    let fetched = fetch_bodies(wallet, &ids, tries).await?;
    let next = after(Recovery::Bodies, &missing, fetched.len());
    Ok(Step::commit(
        CommitPoint::RecoveryFetched,
        next,
        move |tx| {
            for id in ids {
                match fetched.get(&id) {
                    Some(body) => recovery::set_body(tx, id, body)?,
                    None => recovery::count_try(tx, id)?,
                }
            }
            Ok(())
        },
    ))
}

/// The same phase again, after a pause if nobody has answered.
fn after(phase: Recovery, asked: &[OpenCandidate], answers: usize) -> Next<Recovery> {
    let again = asked.iter().any(|it| it.tries > 0);
    if answers == 0 && again {
        Next::Later(phase, PAUSE)
    } else {
        Next::State(phase)
    }
}

pub(super) async fn open(
    wallet: &Wallet,
    id: &OperationId,
    which: Open,
    max_tries: u32,
    limit: u32,
) -> Result<Vec<OpenCandidate>> {
    let id = id.clone();
    let found = wallet
        .store
        .read(move |connection| recovery::open(connection, &id, which, max_tries, limit));
    Ok(found.await?)
}

/// The bodies that the server sends for these ids. What is another VTXO, or none, is left out.
pub(super) async fn fetch_bodies(
    wallet: &Wallet,
    ids: &[VtxoId],
    tries: Tries,
) -> Result<HashMap<VtxoId, Vec<u8>>> {
    let asked: HashSet<&VtxoId> = ids.iter().collect();
    match wallet.server.fetch_vtxos(ids).await {
        Ok(Some(bodies)) => {
            let decoded = bodies.into_iter().filter_map(|body| {
                let vtxo = Vtxo::<Full>::deserialize(&body).ok()?;
                Some((vtxo.id(), body))
            });
            return Ok(decoded.filter(|(id, _)| asked.contains(id)).collect());
        }
        Ok(None) | Err(ark::Error::Rejected { .. } | ark::Error::TooLarge(_)) => {}
        Err(error) if leave_out(wallet, tries, &error) => {}
        Err(error) => return Err(error.into()),
    }
    let single = stream::iter(ids.to_vec()).map(|id| async move {
        let fetched = wallet.server.fetch_vtxo(id).await;
        (id, fetched)
    });
    let answers: Vec<_> = single.buffered(SINGLE_CALLS).collect().await;
    let mut fetched = HashMap::new();
    for (id, answer) in answers {
        match answer {
            Ok(vtxo) if vtxo.id() == id => {
                fetched.insert(id, vtxo.serialize());
            }
            Ok(_) => {
                tracing::warn!(vtxo = %id, "the Ark server sent another VTXO than the requested one");
            }
            Err(error @ ark::Error::Unreachable(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(vtxo = %id, %error, "the Ark server does not send a VTXO"),
        }
    }
    Ok(fetched)
}

pub(super) async fn states(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
) -> Result<Step<Recovery>> {
    let unknown = open(wallet, id, Open::WithoutState, MAX_TRIES, STATES).await?;
    if unknown.is_empty() {
        return Ok(pass(Recovery::Rounds));
    }
    let owners = owners(wallet, &unknown).await?;
    let mut foreign: Vec<VtxoId> = unknown.iter().map(|it| it.id).collect();
    foreign.retain(|id| !owners.contains_key(id));
    let told = ask_states(wallet, &owners, tries).await?;
    let next = after(Recovery::States, &unknown, told.len() + foreign.len());
    Ok(Step::commit(
        CommitPoint::RecoveryFetched,
        next,
        move |tx| {
            for id in foreign {
                recovery::decide(tx, id, Verdict::Foreign, FOREIGN)?;
            }
            for (id, index) in owners {
                recovery::set_key(tx, id, index)?;
                match told.get(&id) {
                    Some(state) => recovery::set_state(tx, id, *state)?,
                    None => recovery::count_try(tx, id)?,
                }
            }
            Ok(())
        },
    ))
}

/// The indices of the keys of those candidates that are the wallet's.
pub(super) async fn owners(
    wallet: &Wallet,
    candidates: &[OpenCandidate],
) -> Result<HashMap<VtxoId, u32>> {
    let mut owners = HashMap::new();
    let mut pubkeys = HashMap::new();
    for candidate in candidates {
        match (candidate.key_index, &candidate.body) {
            (Some(index), _) => {
                owners.insert(candidate.id, index);
            }
            (None, Some(body)) => {
                let vtxo = Vtxo::<Full>::deserialize(body).map_err(Error::internal)?;
                pubkeys.insert(candidate.id, vtxo.user_pubkey());
            }
            (None, None) => {}
        }
    }
    let (keys, gap) = (wallet.keys.clone(), wallet.settings.key_gap);
    let wanted: HashSet<_> = pubkeys.values().copied().collect();
    let found = wallet
        .store
        .read(move |connection| account_keys::search(connection, &keys, wanted, gap))
        .await?;
    for (id, pubkey) in pubkeys {
        if let Some(index) = found.get(&pubkey) {
            owners.insert(id, *index);
        }
    }
    Ok(owners)
}

/// What the server says of VTXOs whose keys have these indices.
pub(super) async fn ask_states(
    wallet: &Wallet,
    owners: &HashMap<VtxoId, u32>,
    tries: Tries,
) -> Result<HashMap<VtxoId, i32>> {
    let mut queries: Vec<(VtxoId, Keypair)> = Vec::with_capacity(owners.len());
    for (id, index) in owners {
        queries.push((*id, wallet.keys.vtxo_key(*index)?));
    }
    if queries.is_empty() {
        return Ok(HashMap::new());
    }
    match wallet.server.vtxo_states(&queries).await {
        Ok(Some(states)) => return Ok(states),
        Ok(None) | Err(ark::Error::Rejected { .. } | ark::Error::TooLarge(_)) => {}
        Err(error) if leave_out(wallet, tries, &error) => {}
        Err(error) => return Err(error.into()),
    }
    let single = stream::iter(queries).map(|(id, key)| async move {
        let state = wallet.server.vtxo_status(id, &key).await;
        (id, state)
    });
    let answers: Vec<_> = single.buffered(SINGLE_CALLS).collect().await;
    let mut told = HashMap::new();
    for (id, answer) in answers {
        match answer {
            Ok(state) => {
                told.insert(id, state.into());
            }
            Err(error @ ark::Error::Unreachable(_)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(vtxo = %id, %error, "the Ark server does not tell the state of a VTXO");
            }
        }
    }
    Ok(told)
}
