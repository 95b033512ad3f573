//! The watch on what the wallet's VTXOs hang from (H32): whoever knows an exit chain can publish it.
//!
//! The watch asks about each distinct anchor once per block, and about deeper levels only where an anchor is spent. VTXOs of one
//! round share their anchor. On Esplora, which has to be asked about each output by itself, a block asks about 200 anchors at
//! most, and the next block about the next 200.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::OutPoint;
use bitcoin_ext::{BlockDelta, BlockHeight};

use super::published::{Standing, exposed_to, is_payment, last_confirmed, standings};
use super::set_aside::{self, CODES, Cause, EXPOSED, REFUSED};
use crate::chain::{Tip, TxStatus};
use crate::model::{Attention, VtxoRecord, VtxoState};
use crate::store::{WriteTx, attention as facts, exit, key};
use crate::wallet::engine::attention;
use crate::wallet::engine::clock;
use crate::wallet::{Result, Wallet};

/// How long a VTXO that the server refuses is set aside.
const REFUSAL_LASTS: Duration = Duration::from_secs(60 * 60);

/// How far the watch is.
#[derive(Default)]
pub(in crate::wallet) struct ChainWatch(Mutex<Progress>);

#[derive(Clone, Copy, Default)]
struct Progress {
    /// The last tip at which the watch asked.
    tip: Option<Tip>,
    /// The last anchor that it asked about, if it has not asked about all.
    last: Option<OutPoint>,
}

/// VTXOs that the watch found in danger.
#[derive(Debug, Default)]
pub(in crate::wallet) struct Endangered {
    /// Their own transaction is confirmed: they can be spent on chain only, whoever holds them.
    pub(in crate::wallet) on_chain: Vec<VtxoId>,
    /// Something beneath them is on chain, and somebody else can take it soon. No round has helped in time.
    pub(in crate::wallet) exposed: Vec<VtxoId>,
}

/// What has to be raised about a VTXO that hangs from something on chain.
struct Exposure {
    fact: Attention,
    /// From this height on, an exit is safer than to wait for a round; `None` if an exit does not help.
    exit_at: Option<BlockHeight>,
}

/// What the watch writes about a VTXO.
enum Change {
    SetAside(Cause),
    Reinstate,
    Raise(Attention),
    Clear,
}

impl Wallet {
    /// Compares the wallet's VTXOs with the chain, once per block: sets those aside that are on chain or double-spent, raises those
    /// that soon may be, and takes back what a reorganisation has undone. Returns those that have to be exited. The result depends on the
    /// chain alone, so what a crash loses is found again.
    ///
    /// # Errors
    /// `chain_unavailable`, or the database's.
    pub(in crate::wallet) async fn watch_vtxos(&self) -> Result<Endangered> {
        let progress = *self.chain_watch.lock();
        let Some(tip) = self
            .chain
            .last_tip()
            .filter(|tip| progress.tip != Some(*tip))
        else {
            return Ok(Endangered::default());
        };
        let live = self.store.live_vtxos();
        let mut by_anchor: BTreeMap<OutPoint, Vec<Arc<VtxoRecord>>> = BTreeMap::new();
        for record in live.iter() {
            let hanging = by_anchor.entry(record.chain_anchor).or_default();
            hanging.push(Arc::clone(record));
        }
        let (asked, last) = next_anchors(&by_anchor, progress.last, self.chain.outputs_per_block());
        let spends = self.chain.spenders(&asked).await?;
        let raised = self.raised_about_vtxos().await?;
        let touched: Vec<Arc<VtxoRecord>> = asked
            .iter()
            .flat_map(|anchor| by_anchor.get(anchor).into_iter().flatten())
            .filter(|it| spends.contains_key(&it.chain_anchor) || raised.contains_key(&it.id))
            .cloned()
            .collect();
        let endangered = self.judge_all(touched, &raised, tip.height).await?;
        self.forget_spent(&raised).await?;
        let tip = Some(tip);
        self.chain_watch.set(Progress { tip, last });
        Ok(endangered)
    }

    /// Lets the next pass look at the chain again although no block has come: what the last one found was not acted on.
    pub(in crate::wallet) fn watch_again(&self) {
        self.chain_watch.set(Progress::default());
    }

    /// The VTXOs that can be spent off chain, but soon perhaps not on chain any more.
    pub(in crate::wallet) async fn exposed_vtxos(&self) -> Result<HashSet<VtxoId>> {
        let raised = self.raised_about_vtxos().await?.into_iter();
        let exposed = raised.filter(|(_, code)| code == EXPOSED);
        Ok(exposed.map(|(id, _)| id).collect())
    }

    /// The codes of what is raised, by VTXO.
    async fn raised_about_vtxos(&self) -> Result<HashMap<VtxoId, String>> {
        let raised = self.attention().await?.into_iter();
        Ok(raised
            .filter(|it| CODES.contains(&it.code.as_str()))
            .filter_map(|it| Some((it.subject.parse().ok()?, it.code)))
            .collect())
    }

    async fn judge_all(
        &self,
        records: Vec<Arc<VtxoRecord>>,
        raised: &HashMap<VtxoId, String>,
        tip: BlockHeight,
    ) -> Result<Endangered> {
        let mut endangered = Endangered::default();
        if records.is_empty() {
            return Ok(endangered);
        }
        let ids: Vec<VtxoId> = records.iter().map(|record| record.id).collect();
        let vtxos = self.full_vtxos(ids).await?;
        let standings = standings(&self.chain, &vtxos).await?;
        let refused_long_ago = self.refused_long_ago().await?;
        let exiting = self.exiting().await?;
        let mut changes = Vec::new();
        for ((record, vtxo), standing) in records.iter().zip(&vtxos).zip(standings) {
            let code = raised.get(&record.id).map(String::as_str);
            let over = refused_long_ago.contains(&record.id.to_string());
            if matches!(standing, Standing::Exited | Standing::Claimed(_)) {
                endangered.on_chain.push(record.id);
            }
            // What the wallet itself puts on chain is no danger, and no news.
            let is_expected = matches!(
                standing,
                Standing::Exited | Standing::Claimed(_) | Standing::OffChain { .. }
            );
            if is_expected
                && exiting.contains(&record.id)
                && code.is_none_or(|code| code == EXPOSED)
            {
                changes.extend(code.map(|_| (record.id, Change::Clear)));
                continue;
            }
            let exposure = self.exposure(vtxo, standing).await?;
            let exit_at = exposure.as_ref().and_then(|exposure| exposure.exit_at);
            if exit_at.is_some_and(|height| tip >= height) {
                endangered.exposed.push(record.id);
            }
            let change = match exposure {
                Some(Exposure { fact, .. }) if code.is_none_or(|code| code == EXPOSED) => {
                    code.is_none().then_some(Change::Raise(fact))
                }
                _ => judge(record, standing, code, over),
            };
            // An exit that is under way puts it on chain again after a reorganisation; its end decides.
            let change = change.filter(|change| {
                !matches!(change, Change::Reinstate) || !exiting.contains(&record.id)
            });
            changes.extend(change.map(|change| (record.id, change)));
        }
        self.write_changes(changes).await?;
        Ok(endangered)
    }

    /// What has to be raised about a VTXO that can be spent off chain, but soon perhaps not on chain any more.
    async fn exposure(&self, vtxo: &Vtxo<Full>, standing: Standing) -> Result<Option<Exposure>> {
        let id = vtxo.id();
        let (message, exit_at) = match standing {
            Standing::Contested(txid) => {
                let message =
                    format!("transaction {txid} in the mempool spends what VTXO {id} hangs from");
                (message, None)
            }
            Standing::OffChain { confirmed } => {
                let Some(above) = last_confirmed(vtxo, confirmed) else {
                    return Ok(None);
                };
                match exposed_to(vtxo, confirmed) {
                    Some(owner) => {
                        let ours = move |connection: &_| key::index_of(connection, &owner);
                        if self.store.read(ours).await?.is_some() {
                            return Ok(None);
                        }
                        let TxStatus::Confirmed { height, .. } = self.chain.status(above).await?
                        else {
                            return Ok(None);
                        };
                        let delta = vtxo.exit_delta();
                        let claimable = height.add_delta(delta);
                        // Half of the delay is for rounds if it is shorter than twice the margin.
                        let margin = self.settings.exit_margin.to_u16().min(delta.to_u16() / 2);
                        let message = format!(
                            "an earlier owner of VTXO {id} has put what it hangs from on chain, and can claim it from height {claimable} on"
                        );
                        let exit_at = claimable.saturating_sub(BlockDelta::new(margin));
                        (message, Some(exit_at))
                    }
                    None if is_payment(vtxo, confirmed) => {
                        let expiry = vtxo.expiry_height();
                        let message = format!(
                            "what VTXO {id} hangs from is on chain down to a checkpoint, which the Ark server can take from height {expiry} on"
                        );
                        (message, Some(self.last_exit_start(vtxo)))
                    }
                    None => return Ok(None),
                }
            }
            Standing::Exited | Standing::Claimed(_) | Standing::DoubleSpent(_) => return Ok(None),
        };
        let what_to_do = match exit_at {
            Some(height) => format!(
                "the next round refreshes this VTXO; if none has until height {height}, the wallet exits it. For that it needs coins in \
                 the on-chain wallet"
            ),
            None => "the next round refreshes this VTXO; if none does soon, use POST /api/v1/wallet/refresh/vtxos: the Ark server \
                     still takes it"
                .to_owned(),
        };
        let fact = set_aside::fact(EXPOSED, id, message, &what_to_do);
        Ok(Some(Exposure { fact, exit_at }))
    }

    /// The VTXOs whose exit is under way.
    async fn exiting(&self) -> Result<HashSet<VtxoId>> {
        let live = self.store.read(exit::live).await?;
        Ok(live.into_iter().map(|exit| exit.vtxo).collect())
    }

    async fn refused_long_ago(&self) -> Result<Vec<String>> {
        let before = clock::now_millis()
            .saturating_sub(REFUSAL_LASTS.as_millis().try_into().unwrap_or(i64::MAX));
        let refused = move |connection: &_| facts::raised_before(connection, REFUSED, before);
        Ok(self.store.read(refused).await?)
    }

    async fn write_changes(&self, changes: Vec<(VtxoId, Change)>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let write = move |tx: &mut WriteTx<'_>| {
            changes.iter().try_for_each(|(id, change)| match change {
                Change::SetAside(cause) => set_aside::set_aside(tx, *id, cause),
                Change::Reinstate => set_aside::reinstate(tx, *id),
                Change::Raise(fact) => attention::raise(tx, fact),
                Change::Clear => set_aside::clear_except(tx, *id, None),
            })
        };
        self.store.write(write).await
    }

    /// Clears what is raised about VTXOs that the wallet has spent since.
    async fn forget_spent(&self, raised: &HashMap<VtxoId, String>) -> Result<()> {
        if raised.is_empty() {
            return Ok(());
        }
        let live = self.store.live_vtxos();
        let live: HashSet<VtxoId> = live.iter().map(|it| it.id).collect();
        let spent = raised.keys().filter(|id| !live.contains(id));
        self.write_changes(spent.map(|id| (*id, Change::Clear)).collect())
            .await
    }
}

impl ChainWatch {
    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, progress: Progress) {
        *self.lock() = progress;
    }
}

/// The anchors to ask about: at most `limit`, from the one after `last` on. And the last one of them, if others are left.
fn next_anchors<T>(
    anchors: &BTreeMap<OutPoint, T>,
    last: Option<OutPoint>,
    limit: usize,
) -> (Vec<OutPoint>, Option<OutPoint>) {
    let after = last.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = anchors.range((after, Bound::Unbounded)).map(|(it, _)| *it);
    let asked: Vec<OutPoint> = rest.take(limit).collect();
    let reached = asked.last().copied();
    let at_end = reached == anchors.keys().next_back().copied();
    (asked, reached.filter(|_| !at_end))
}

/// What changes for a VTXO. `code` is what is raised about it, and `over` says that the server's refusal is long ago.
fn judge(
    record: &VtxoRecord,
    standing: Standing,
    code: Option<&str>,
    over: bool,
) -> Option<Change> {
    if let Standing::OffChain { .. } = standing {
        return match code {
            None => None,
            Some(REFUSED) if !over => None,
            Some(EXPOSED) => Some(Change::Clear),
            Some(_) => Some(Change::Reinstate),
        };
    }
    let cause = Cause::of(standing)?;
    if code == Some(cause.code()) || matches!(record.state, VtxoState::Locked(Some(_))) {
        return None;
    }
    Some(Change::SetAside(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::coins::testing::vtxo;
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;

    #[test]
    fn each_anchor_has_its_turn() {
        let outpoint = |vout| OutPoint::new(Txid::all_zeros(), vout);
        let anchors: BTreeMap<OutPoint, ()> = (0..5).map(|n| (outpoint(n), ())).collect();
        let (first, last) = next_anchors(&anchors, None, 2);
        assert_eq!(
            (first, last),
            (vec![outpoint(0), outpoint(1)], Some(outpoint(1)))
        );
        let (second, last) = next_anchors(&anchors, last, 3);
        assert_eq!((second.len(), last), (3, None));
        // One that is gone since does not end the turn.
        let (after_gone, _) = next_anchors(&anchors, Some(outpoint(2)), 2);
        assert_eq!(after_gone, [outpoint(3), outpoint(4)]);
        assert_eq!(next_anchors(&anchors, Some(outpoint(9)), 2), (vec![], None));
    }

    #[test]
    fn a_refused_vtxo_comes_back_after_a_while_and_an_exited_one_after_a_reorganisation() {
        let record = vtxo(1, 1_000, 500, 1);
        let off_chain = Standing::OffChain { confirmed: 0 };
        let judge = |standing, code, over| judge(&record, standing, code, over);
        assert!(judge(off_chain, None, false).is_none());
        assert!(judge(off_chain, Some(REFUSED), false).is_none());
        for (code, over) in [(REFUSED, true), (set_aside::ON_CHAIN, false)] {
            let change = judge(off_chain, Some(code), over);
            assert!(matches!(change, Some(Change::Reinstate)), "{code}");
        }
        for code in [None, Some(REFUSED), Some(EXPOSED)] {
            let change = judge(Standing::Exited, code, false);
            assert!(matches!(change, Some(Change::SetAside(Cause::OnChain))));
        }
        assert!(judge(Standing::Exited, Some(set_aside::ON_CHAIN), false).is_none());
        let contested = Standing::Contested(Txid::all_zeros());
        assert!(judge(contested, Some(set_aside::ON_CHAIN), false).is_none());
    }
}
