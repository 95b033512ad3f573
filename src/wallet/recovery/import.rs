//! VTXOs that a caller hands in, with their exit chains (docs/protocol.md §4.10).
//!
//! Each is judged by its key, the server's word, its signatures and the chain. All are stored in one commit, or none. No movement is
//! written: the history of the wallet that got them has it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ark_lib::vtxo::{Full, VtxoPolicyKind};
use ark_lib::{Vtxo, VtxoId};
use futures::{StreamExt, stream};
use server_rpc::protos::VtxoSpendState;

use super::adopt::adopt;
use super::judge::{Candidate, Judged, Judgement};
use crate::ark;
use crate::model::VtxoRecord;
use crate::store::vtxo;
use crate::wallet::account::keys;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// The largest gap of unused keys that is searched.
const MAX_GAP: u32 = 100_000;
/// VTXOs whose state is asked for at the same time.
const QUESTIONS: usize = 8;

/// VTXOs to import.
pub struct ImportRequest {
    /// The VTXOs.
    pub vtxos: Vec<Vtxo<Full>>,
    /// How many keys beyond the last known one are searched; the setting `vtxo_key_gap_limit` if `None`.
    pub gap_limit: Option<u32>,
    /// Does not ask the server for the states.
    pub skip_status_check: bool,
    /// Stores the VTXOs that can be imported even if others cannot.
    pub allow_partial: bool,
}

/// What became of the VTXOs of a request.
pub struct Imported {
    /// VTXOs that the wallet had already, in the order of the request.
    pub known: Vec<Arc<VtxoRecord>>,
    /// VTXOs that are new, in the order of the request.
    pub stored: Vec<Arc<VtxoRecord>>,
    /// VTXOs that cannot be imported, and why.
    pub refused: Vec<(VtxoId, Error)>,
}

/// What the server says of a VTXO.
enum Word {
    State(VtxoSpendState),
    /// It does not know the VTXO, and says this.
    Unknown(String),
    /// It was not asked.
    Skipped,
}

impl Wallet {
    /// Stores VTXOs of this wallet that a caller hands in. Repeating it changes nothing.
    ///
    /// # Errors
    /// `no_vtxos`, `invalid_gap_limit`; `server_unavailable`, `chain_unavailable`. Unless `allow_partial`, the reason for the first VTXO
    /// that cannot be imported, and nothing is stored: `vtxo_foreign`, `vtxo_invalid`, `vtxo_unanchored`, `vtxo_expired`, `vtxo_swept`,
    /// `vtxo_spent`, `vtxo_undecided`, `vtxo_unknown_to_server`, `vtxo_in_flight`.
    pub async fn import_vtxos(&self, request: ImportRequest) -> Result<Imported> {
        let gap = request.gap_limit.unwrap_or(self.settings.key_gap);
        if request.vtxos.is_empty() {
            let message = "there is no VTXO to import";
            return Err(Error::bad_request("no_vtxos", message));
        }
        if gap > MAX_GAP {
            let message = format!("gap_limit is at most {MAX_GAP}");
            return Err(Error::bad_request("invalid_gap_limit", message));
        }
        let (known, new) = self.split_known(request.vtxos).await?;
        let (mut importable, mut refused) = (Vec::new(), Vec::new());
        for (judged, refusal) in self.examine(new, gap, request.skip_status_check).await? {
            match refusal {
                None => importable.push(judged),
                Some(refusal) => refused.push((judged.id(), refusal)),
            }
        }
        if !request.allow_partial && !refused.is_empty() {
            let (_, error) = refused.swap_remove(0);
            return Err(error);
        }
        for (id, error) in &refused {
            tracing::warn!(vtxo = %id, %error, "VTXO not imported");
        }
        let stored = self.store_imported(importable).await?;
        Ok(Imported {
            known: self.records(known).await?,
            stored: self.records(stored).await?,
            refused,
        })
    }

    /// The ids that the wallet has, and the VTXOs that it does not have, each once.
    async fn split_known(&self, vtxos: Vec<Vtxo<Full>>) -> Result<(Vec<VtxoId>, Vec<Vtxo<Full>>)> {
        let split = self.store.read(move |connection| {
            let (mut seen, mut known, mut new) = (HashSet::new(), Vec::new(), Vec::new());
            for vtxo in vtxos {
                let id = vtxo.id();
                if !seen.insert(id) {
                    continue;
                }
                match vtxo::get(connection, id)? {
                    Some(_) => known.push(id),
                    None => new.push(vtxo),
                }
            }
            Ok::<_, Error>((known, new))
        });
        split.await
    }

    /// The judgement of each VTXO, and why it cannot be imported, if so.
    async fn examine(
        &self,
        vtxos: Vec<Vtxo<Full>>,
        gap: u32,
        skip_status_check: bool,
    ) -> Result<Vec<(Judged, Option<Error>)>> {
        if vtxos.is_empty() {
            return Ok(Vec::new());
        }
        let server = self.server_keys()?;
        let tip = self.chain.tip().await?.height;
        let hints = self.hints(&vtxos, gap).await?;
        let ours = |vtxo: &Vtxo<Full>| {
            let index = hints.get(&vtxo.id()).copied();
            index.filter(|_| vtxo.server_pubkey() == server.server)
        };
        let mut words: HashMap<VtxoId, Word> = HashMap::new();
        if !skip_status_check {
            let asked = vtxos.iter().filter_map(|it| Some((it.id(), ours(it)?)));
            words = self.ask(asked.collect()).await?;
        }
        let candidates = vtxos.into_iter().map(|vtxo| Candidate {
            key_hint: hints.get(&vtxo.id()).copied(),
            state: Some(match words.get(&vtxo.id()) {
                Some(Word::State(state)) => *state,
                // The chain decides alone.
                Some(Word::Unknown(_) | Word::Skipped) | None => VtxoSpendState::Spendable,
            }),
            vtxo,
        });
        let judged = self.judge(candidates.collect(), &server).await?;
        let mut examined = Vec::with_capacity(judged.len());
        for judged in judged {
            let word = words.remove(&judged.id()).unwrap_or(Word::Skipped);
            let flaw = match flaw(&judged, &word) {
                None if is_expired(&judged, tip) => {
                    let height = judged.vtxo.expiry_height();
                    Some(("vtxo_expired", format!("it expired at height {height}")))
                }
                Some((UNDECIDED, reason)) => Some(self.name_doubt(&judged, reason).await?),
                flaw => flaw,
            };
            let refusal = flaw.map(|(code, reason)| refusal(judged.id(), code, &reason));
            examined.push((judged, refusal));
        }
        Ok(examined)
    }

    /// The indices of the keys that spend the VTXOs. It derives keys for seconds if the gap is large.
    async fn hints(&self, vtxos: &[Vtxo<Full>], gap: u32) -> Result<HashMap<VtxoId, u32>> {
        let keys = Arc::clone(&self.keys);
        let pubkeys: HashMap<VtxoId, _> =
            vtxos.iter().map(|it| (it.id(), it.user_pubkey())).collect();
        self.store
            .read(move |connection| {
                let wanted: HashSet<_> = pubkeys.values().copied().collect();
                let found = keys::search(connection, &keys, wanted, gap)?;
                let owned = pubkeys.into_iter();
                Ok(owned
                    .filter_map(|(id, pubkey)| Some((id, *found.get(&pubkey)?)))
                    .collect())
            })
            .await
    }

    /// Asks the server for the states of VTXOs, whose key indices are given.
    ///
    /// # Errors
    /// `server_unavailable`: for one of them at least.
    async fn ask(&self, vtxos: Vec<(VtxoId, u32)>) -> Result<HashMap<VtxoId, Word>> {
        let questions = stream::iter(vtxos).map(|(id, index)| async move {
            let key = self.keys.vtxo_key(index)?;
            match self.server.vtxo_status(id, &key).await {
                Ok(state) => Ok((id, Word::State(state))),
                Err(ark::Error::Rejected { message, .. }) => Ok((id, Word::Unknown(message))),
                Err(error) => Err(Error::from(error)),
            }
        });
        let answers: Vec<_> = questions.buffered(QUESTIONS).collect().await;
        answers.into_iter().collect()
    }

    /// The code of a VTXO about which the chain decides nothing.
    ///
    /// # Errors
    /// `chain_unavailable`: the chain was not asked.
    async fn name_doubt(&self, judged: &Judged, reason: String) -> Result<(&'static str, String)> {
        let anchor = judged.vtxo.chain_anchor().txid;
        let anchored = self.chain.status(anchor).await?.is_confirmed();
        Ok((if anchored { UNDECIDED } else { UNANCHORED }, reason))
    }

    /// Stores VTXOs with their keys; answers their ids.
    async fn store_imported(&self, importable: Vec<Judged>) -> Result<Vec<VtxoId>> {
        let ids: Vec<VtxoId> = importable.iter().map(Judged::id).collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        let keys = Arc::clone(&self.keys);
        self.commit(CommitPoint::ImportStored, move |tx| {
            for judged in &importable {
                // One that came over the mailbox meanwhile stays as it is.
                if vtxo::get(tx, judged.id())?.is_none() {
                    adopt(tx, &keys, judged)?;
                }
            }
            Ok::<_, Error>(())
        })
        .await?;
        tracing::info!(vtxos = ids.len(), "imported VTXOs");
        self.vtxos_arrived.notify_one();
        Ok(ids)
    }
}

const FOREIGN: &str = "vtxo_foreign";
const INVALID: &str = "vtxo_invalid";
const UNANCHORED: &str = "vtxo_unanchored";
const UNDECIDED: &str = "vtxo_undecided";
const IN_FLIGHT: &str = "vtxo_in_flight";

/// The code and the reason for which a VTXO cannot be imported, if so.
fn flaw(judged: &Judged, word: &Word) -> Option<(&'static str, String)> {
    if judged.key_index.is_some() && judged.vtxo.policy_type() != VtxoPolicyKind::Pubkey {
        let policy = judged.vtxo.policy_type();
        return Some((INVALID, format!("its policy is {policy}, not a public key")));
    }
    let in_flight = "the payment or round that made it is not complete; let the wallet that began it complete it, and import the VTXO again";
    let flaw = match (&judged.judgement, word) {
        (Judgement::Foreign, _) => {
            let reason = "its key is not among the keys of this wallet that were searched; if the wallet has used many keys, raise gap_limit";
            (FOREIGN, reason.to_owned())
        }
        (Judgement::Invalid(reason), _) => (INVALID, reason.clone()),
        (Judgement::Gone(reason), _) => ("vtxo_swept", reason.clone()),
        (Judgement::Spent, _) => ("vtxo_spent", "the Ark server reports it as spent".into()),
        (Judgement::InFlight(reason), _) => (IN_FLIGHT, reason.clone()),
        (
            Judgement::Spendable | Judgement::Exited,
            Word::State(VtxoSpendState::Unregistered | VtxoSpendState::HtlcRecvUnclaimed),
        ) => (IN_FLIGHT, in_flight.into()),
        (Judgement::Spendable, Word::Unknown(message)) => (
            "vtxo_unknown_to_server",
            format!(
                "the Ark server does not know it ({message}); with skip_status_check it is not asked"
            ),
        ),
        (Judgement::Undecided(reason), _) => (UNDECIDED, reason.clone()),
        (Judgement::Spendable | Judgement::Exited, _) => return None,
    };
    Some(flaw)
}

/// Whether the server may sweep what the VTXO hangs from. One that is on chain by itself is its owner's.
fn is_expired(judged: &Judged, tip: bitcoin_ext::BlockHeight) -> bool {
    judged.judgement == Judgement::Spendable && judged.vtxo.expiry_height() <= tip
}

fn refusal(id: VtxoId, code: &'static str, reason: &str) -> Error {
    let message = format!("VTXO {id} cannot be imported: {reason}");
    match code {
        IN_FLIGHT => Error::not_ready(code, message),
        FOREIGN | INVALID | UNANCHORED => Error::bad_request(code, message),
        _ => Error::conflict(code, message),
    }
}
