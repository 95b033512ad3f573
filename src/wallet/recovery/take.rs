//! Candidates become VTXOs of the wallet, or not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::SignedAmount;
use server_rpc::protos::VtxoSpendState;

use super::adopt::adopt;
use super::fetch::{ask_states, fetch_bodies, open, owners};
use super::judge::{Candidate, FOREIGN, Judged, Judgement};
use super::start::OLDER_DATABASE;
use super::{Recovery, history, unproven};
use crate::model::{OpenCandidate, OperationId, Verdict, VtxoRecord, VtxoState};
use crate::store::recovery::{self, Open};
use crate::store::{WriteTx, vtxo};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::engine::{Next, Step, Tries, attention, clock};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Candidates that are judged in one step.
const CHUNK: u32 = 100;
/// Doubtful candidates that are looked at again in one step.
const DOUBTS: u32 = 500;
/// How long the next look at the doubtful ones waits if there is no block.
const NEXT_LOOK: Duration = Duration::from_secs(600);

pub(super) async fn judge(wallet: &Wallet, id: &OperationId) -> Result<Step<Recovery>> {
    let candidates = open(wallet, id, Open::Unjudged, u32::MAX, CHUNK).await?;
    if candidates.is_empty() {
        wallet.recovery_advanced.notify_one();
        let ancestors = unproven::ancestors_of_live(wallet).await?;
        let spent = spent_by_own(wallet, &ancestors);
        return match spent.is_empty() {
            true => completed(wallet, id, ancestors).await,
            false => Ok(Step::commit(
                CommitPoint::RecoveryAdopted,
                Next::State(Recovery::Judge),
                move |tx| spend_all(tx, &spent),
            )),
        };
    }
    let taken = judge_all(wallet, candidates).await?;
    let keys = wallet.keys.clone();
    Ok(Step::commit(
        CommitPoint::RecoveryAdopted,
        Next::State(Recovery::Judge),
        move |tx| write(tx, &keys, &taken, Invalid::FetchAgain),
    ))
}

/// VTXOs of the wallet that another of its VTXOs descends from. That one's signatures prove the spend, whatever the server says.
fn spent_by_own(wallet: &Wallet, ancestors: &HashSet<VtxoId>) -> Vec<VtxoId> {
    let live = wallet.store.live_vtxos();
    let spendable = live.iter().filter(|it| it.state == VtxoState::Spendable);
    let spendable = spendable.map(|record| record.id);
    spendable.filter(|id| ancestors.contains(id)).collect()
}

fn spend_all(tx: &mut WriteTx<'_>, spent: &[VtxoId]) -> Result<()> {
    let mut change = SignedAmount::ZERO;
    for id in spent {
        let Some(record) = vtxo::get(tx, *id)?.filter(|it| it.state == VtxoState::Spendable) else {
            continue;
        };
        change -= record.amount.to_signed().map_err(Error::internal)?;
        vtxo::spend(tx, *id)?;
        let reason = unproven::DESCENT;
        recovery::decide(tx, *id, Verdict::Spent, reason)?;
        tracing::warn!(vtxo = %id, reason, "recovery: the Ark server calls a spent VTXO spendable");
    }
    history::record(tx, change, spent, &[])
}

/// All is judged once. What is doubtful is looked at again, while the wallet works with the rest.
async fn completed(
    wallet: &Wallet,
    id: &OperationId,
    ancestors: HashSet<VtxoId>,
) -> Result<Step<Recovery>> {
    let doubts = open(wallet, id, Open::Doubtful, u32::MAX, 1).await?;
    let (id, tip) = (id.clone(), unproven::tip(wallet));
    let proofs = unproven::prove(wallet, ancestors).await?;
    if doubts.is_empty() {
        return Ok(Step::commit(
            CommitPoint::RecoveryCompleted,
            Next::Done,
            move |tx| {
                unproven::write(tx, &proofs, tip)?;
                release(tx, &id)?;
                Ok(recovery::finish(tx, &id, clock::now_millis())?)
            },
        ));
    }
    tracing::warn!("some VTXOs of the recovery are doubtful; looking at them again at each block");
    Ok(Step::commit(
        CommitPoint::RecoveryJudged,
        Next::State(Recovery::Doubts),
        move |tx| {
            unproven::write(tx, &proofs, tip)?;
            release(tx, &id)
        },
    ))
}

fn release(tx: &WriteTx<'_>, id: &OperationId) -> Result<()> {
    recovery::release_spends(tx, id)?;
    attention::clear(tx, OLDER_DATABASE, "")
}

pub(super) async fn doubts(wallet: &Wallet, id: &OperationId) -> Result<Step<Recovery>> {
    let mut candidates = open(wallet, id, Open::Doubtful, u32::MAX, DOUBTS).await?;
    if candidates.is_empty() {
        let (id, tip) = (id.clone(), unproven::tip(wallet));
        let ancestors = unproven::ancestors_of_live(wallet).await?;
        let proofs = unproven::prove(wallet, ancestors).await?;
        return Ok(Step::commit(
            CommitPoint::RecoveryCompleted,
            Next::Done,
            move |tx| {
                unproven::write(tx, &proofs, tip)?;
                Ok(recovery::finish(tx, &id, clock::now_millis())?)
            },
        ));
    }
    // Without the server, the next look waits for the connection.
    wallet.connected_info()?;
    let without = candidates.iter().filter(|it| it.body.is_none());
    let without: Vec<VtxoId> = without.map(|it| it.id).collect();
    if !without.is_empty() {
        let mut bodies = fetch_bodies(wallet, &without, Tries::default()).await?;
        for candidate in candidates.iter_mut().filter(|it| it.body.is_none()) {
            candidate.body = bodies.remove(&candidate.id);
        }
    }
    candidates.retain(|it| it.body.is_some());
    let owners = owners(wallet, &candidates).await?;
    let states = ask_states(wallet, &owners, Tries::default()).await?;
    for candidate in &mut candidates {
        candidate.state = states.get(&candidate.id).copied().or(candidate.state);
    }
    let mut taken = judge_all(wallet, candidates).await?;
    taken.retain(|it| {
        let undecided = matches!(it.judged.judgement, Judgement::Undecided(_));
        !undecided || without.contains(&it.judged.id())
    });
    if taken.is_empty() {
        return Ok(Step::AwaitNudge(NEXT_LOOK));
    }
    let keys = wallet.keys.clone();
    Ok(Step::commit(
        CommitPoint::RecoveryAdopted,
        Next::State(Recovery::Doubts),
        move |tx| write(tx, &keys, &taken, Invalid::Decided),
    ))
}

/// A judged candidate.
struct Taken {
    judged: Judged,
    /// Whether the server has its signed chain.
    registered: bool,
    /// Whether its id is in the recovery mailbox.
    backed_up: bool,
}

async fn judge_all(wallet: &Wallet, open: Vec<OpenCandidate>) -> Result<Vec<Taken>> {
    let server = wallet.server_keys()?;
    let (mut candidates, mut facts) = (Vec::new(), Vec::new());
    for entry in open {
        let Some(body) = entry.body else {
            continue;
        };
        let state = entry
            .state
            .map(|state| VtxoSpendState::try_from(state).unwrap_or_default());
        facts.push((state == Some(VtxoSpendState::Spendable), entry.backed_up));
        candidates.push(Candidate {
            vtxo: Vtxo::<Full>::deserialize(&body).map_err(Error::internal)?,
            key_hint: entry.key_index,
            state,
        });
    }
    let judged = wallet.judge(candidates, &server).await?;
    let taken = judged
        .into_iter()
        .zip(facts)
        .map(|(judged, (registered, backed_up))| Taken {
            judged,
            registered,
            backed_up,
        });
    Ok(taken.collect())
}

/// What becomes of a VTXO of the wallet whose body is invalid.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalid {
    /// Another source may have a valid body.
    FetchAgain,
    /// Its verdict.
    Decided,
}

fn write(tx: &mut WriteTx<'_>, keys: &WalletKeys, taken: &[Taken], invalid: Invalid) -> Result<()> {
    let (mut change, mut spent, mut found) = (SignedAmount::ZERO, Vec::new(), Vec::new());
    for entry in taken {
        let id = entry.judged.id();
        let before = vtxo::get(tx, id)?;
        let difference = adopt(tx, keys, &entry.judged)?;
        change = change
            .checked_add(difference)
            .ok_or_else(|| Error::internal(anyhow::anyhow!("recovered amounts overflow")))?;
        if difference.is_positive() {
            found.push(id);
        } else if difference.is_negative() {
            spent.push(id);
        }
        if before.is_none() {
            vtxo::set_registered(tx, &[id], entry.registered)?;
            if entry.backed_up {
                vtxo::set_backed_up(tx, &[id])?;
            }
        }
        let (mut verdict, mut reason) = verdict(&entry.judged.judgement);
        let is_spent =
            |record: Option<Arc<VtxoRecord>>| record.is_some_and(|it| it.state == VtxoState::Spent);
        if verdict == Verdict::Spent && !is_spent(before) && is_spent(vtxo::get(tx, id)?) {
            (verdict, reason) = (Verdict::SpentUnproven, unproven::REASON);
        }
        let is_ours = entry.judged.key_index.is_some();
        if verdict == Verdict::Invalid && is_ours && invalid == Invalid::FetchAgain {
            verdict = Verdict::Missing;
        }
        if !matches!(
            verdict,
            Verdict::Recovered | Verdict::Spent | Verdict::SpentUnproven
        ) {
            tracing::warn!(vtxo = %id, verdict = verdict.name(), reason, "recovery: VTXO not taken as spendable");
        }
        recovery::decide(tx, id, verdict, reason)?;
    }
    history::record(tx, change, &spent, &found)
}

fn verdict(judgement: &Judgement) -> (Verdict, &str) {
    match judgement {
        Judgement::Foreign => (Verdict::Foreign, FOREIGN),
        Judgement::Invalid(reason) => (Verdict::Invalid, reason),
        Judgement::Gone(reason) => (Verdict::Gone, reason),
        Judgement::Spendable => (Verdict::Recovered, ""),
        Judgement::Spent => (Verdict::Spent, ""),
        Judgement::Exited => (Verdict::Exited, "its own transaction is confirmed"),
        Judgement::InFlight(reason) => (Verdict::InFlight, reason),
        Judgement::Undecided(reason) => (Verdict::Doubtful, reason),
    }
}
