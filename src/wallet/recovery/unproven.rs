//! VTXOs that count as spent on the Ark server's word alone (docs/protocol.md §4.11).
//!
//! A spend is proven when a VTXO of the wallet descends from the spent one, which takes a signature of the wallet's key, or when the
//! chain shows it. One that is not proven stays spent (H36), is shown, and can be exited by a person who names it: the chain then decides
//! who is right.

use std::collections::{HashMap, HashSet};

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::{Amount, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;

use super::history;
use crate::model::{Attention, UnprovenSpend, VtxoState};
use crate::store::{WriteTx, recovery, vtxo};
use crate::wallet::coins::cores::each_on_all_cores;
use crate::wallet::coins::published::{Standing, standings};
use crate::wallet::engine::attention;
use crate::wallet::{Error, Result, Wallet};

/// Why a VTXO whose spend is not proven counts as spent.
pub(super) const REASON: &str = "the Ark server says so, and nothing else shows it";
/// The code of the fact that VTXOs which were spendable in this database count as spent on the server's word alone.
const SPENT_ELSEWHERE: &str = "spent_elsewhere";
/// VTXOs that the fact names.
const NAMED: usize = 20;
/// VTXOs whose bodies are in memory at the same time.
const CHUNK: usize = 100;

/// Spends that are proven now, and by what.
pub(super) type Proofs = HashMap<VtxoId, &'static str>;

/// Looks for proofs of the spends that have none; `ancestors` are those of the wallet's live VTXOs. While the chain backend does not
/// answer, only descent proves something.
///
/// # Errors
/// The database's.
pub(super) async fn prove(wallet: &Wallet, mut ancestors: HashSet<VtxoId>) -> Result<Proofs> {
    let unproven = wallet.store.read(recovery::unproven_spends).await?;
    let unproven: Vec<VtxoId> = unproven.into_iter().map(|it| it.id).collect();
    let mut proofs = Proofs::new();
    for chunk in unproven.chunks(CHUNK) {
        let vtxos = wallet.full_vtxos(chunk.to_vec()).await?;
        match look(wallet, &vtxos).await {
            Ok((genuine, gone)) => {
                ancestors.extend(ancestors_of(genuine).await?);
                proofs.extend(gone.into_iter().map(|id| (id, "the chain shows its spend")));
            }
            Err(error) => {
                tracing::warn!(%error, "the chain was not asked about VTXOs that the Ark server calls spent");
            }
        }
    }
    let descended = unproven.into_iter().filter(|id| ancestors.contains(id));
    proofs.extend(descended.map(|id| (id, DESCENT)));
    Ok(proofs)
}

/// The proof by descent.
pub(super) const DESCENT: &str = "a VTXO of the wallet descends from it";

/// What the VTXOs of the wallet descend from, unless these are spent.
pub(super) async fn ancestors_of_live(wallet: &Wallet) -> Result<HashSet<VtxoId>> {
    let live: Vec<VtxoId> = wallet.store.live_vtxos().iter().map(|it| it.id).collect();
    let mut ancestors = HashSet::new();
    for chunk in live.chunks(CHUNK) {
        let vtxos = wallet.full_vtxos(chunk.to_vec()).await?;
        ancestors.extend(ancestors_of(vtxos).await?);
    }
    Ok(ancestors)
}

async fn ancestors_of(vtxos: Vec<Vtxo<Full>>) -> Result<impl Iterator<Item = VtxoId>> {
    let ancestors = each_on_all_cores(vtxos, Vtxo::ancestor_ids).await?;
    Ok(ancestors.into_iter().flatten())
}

/// Those of the VTXOs whose signatures are valid, and the ids of those whose value somebody has taken on chain.
async fn look(wallet: &Wallet, vtxos: &[Vtxo<Full>]) -> Result<(Vec<Vtxo<Full>>, Vec<VtxoId>)> {
    let txids: HashSet<Txid> = vtxos.iter().map(|it| it.chain_anchor().txid).collect();
    let mut anchors: HashMap<Txid, Transaction> = HashMap::new();
    for txid in txids {
        anchors.extend(wallet.chain.transaction(txid).await?.map(|it| (txid, it)));
    }
    let standings = standings(&wallet.chain, vtxos).await?;
    let taken = vtxos.iter().zip(standings).filter(|(_, standing)| {
        matches!(standing, Standing::Claimed(_) | Standing::DoubleSpent(_))
    });
    let valid = each_on_all_cores(vtxos.to_vec(), move |vtxo| {
        let anchor = anchors.get(&vtxo.chain_anchor().txid);
        anchor.is_some_and(|anchor| vtxo.validate(anchor).is_ok())
    });
    let valid = vtxos.iter().zip(valid.await?).filter(|(_, valid)| *valid);
    Ok((
        valid.map(|(vtxo, _)| vtxo.clone()).collect(),
        taken.map(|(vtxo, _)| vtxo.id()).collect(),
    ))
}

/// Writes the proofs, and shows what is left without.
pub(super) fn write(tx: &WriteTx<'_>, proofs: &Proofs, tip: BlockHeight) -> Result<()> {
    for (id, proof) in proofs {
        recovery::set_proven(tx, *id, proof)?;
    }
    show(tx, tip)
}

/// Takes back a VTXO whose spend is not proven, because a person asks for its exit: locked, and never an input of a payment. Any other
/// VTXO stays as it is.
pub(in crate::wallet) fn take_back(
    tx: &mut WriteTx<'_>,
    id: VtxoId,
    tip: BlockHeight,
) -> Result<()> {
    let Some(amount) = unproven(tx, id, &VtxoState::Spent)? else {
        return Ok(());
    };
    tracing::warn!(vtxo = %id, "a VTXO that the Ark server calls spent is taken back for its exit");
    vtxo::take_back(tx, id)?;
    let change = amount.to_signed().map_err(Error::internal)?;
    history::record(tx, change, &[], &[id])?;
    show(tx, tip)
}

/// Undoes [`take_back`]: the exit was canceled.
pub(in crate::wallet) fn put_back(
    tx: &mut WriteTx<'_>,
    id: VtxoId,
    tip: BlockHeight,
) -> Result<()> {
    let Some(amount) = unproven(tx, id, &VtxoState::Locked(None))? else {
        return Ok(());
    };
    vtxo::spend(tx, id)?;
    let change = amount.to_signed().map_err(Error::internal)?;
    history::record(tx, -change, &[id], &[])?;
    show(tx, tip)
}

/// The exit of a VTXO has shown that it is spent.
pub(in crate::wallet) fn prove_by_exit(
    tx: &WriteTx<'_>,
    id: VtxoId,
    tip: BlockHeight,
) -> Result<()> {
    if recovery::is_unproven(tx, id)? {
        recovery::set_proven(tx, id, "its exit has shown it")?;
        show(tx, tip)?;
    }
    Ok(())
}

/// The amount of a VTXO in this state whose spend is not proven.
fn unproven(tx: &WriteTx<'_>, id: VtxoId, state: &VtxoState) -> Result<Option<Amount>> {
    let record = vtxo::get(tx, id)?.filter(|record| record.state == *state);
    match record {
        Some(record) if recovery::is_unproven(tx, id)? => Ok(Some(record.amount)),
        _ => Ok(None),
    }
}

impl Wallet {
    /// Shows the spends that are not proven as long as there is something to do about them.
    pub(super) async fn show_unproven_spends(&self) -> Result<()> {
        let tip = tip(self);
        let wanted = self.store.read(move |connection| fact(connection, tip));
        let (wanted, raised) = (wanted.await?, self.attention().await?);
        let shown = raised.iter().find(|it| it.code == SPENT_ELSEWHERE);
        if shown == wanted.as_ref() {
            return Ok(());
        }
        // Decided anew: a recovery may have found proofs since.
        self.store.write(move |tx| show(tx, tip)).await
    }
}

fn show(tx: &WriteTx<'_>, tip: BlockHeight) -> Result<()> {
    match fact(tx, tip)? {
        Some(fact) => attention::raise(tx, &fact),
        None => attention::clear(tx, SPENT_ELSEWHERE, ""),
    }
}

/// What is raised about VTXOs that were spendable in this database and have not expired.
fn fact(connection: &Connection, tip: BlockHeight) -> Result<Option<Attention>> {
    let mut spends = recovery::unproven_spends(connection)?;
    spends.retain(|it| it.was_spendable && it.expiry_height > tip);
    if spends.is_empty() {
        return Ok(None);
    }
    let named = spends.iter().take(NAMED);
    let mut names: Vec<String> = named
        .map(|it| format!("{} ({} sat)", it.id, it.amount.to_sat()))
        .collect();
    if spends.len() > NAMED {
        names.push(format!("and {} more", spends.len() - NAMED));
    }
    Ok(Some(Attention {
        code: SPENT_ELSEWHERE.into(),
        subject: String::new(),
        message: format!(
            "{} VTXOs over {} sat that were spendable in this database count as spent because the Ark server says so; nothing else shows it: {}",
            spends.len(),
            total(&spends).to_sat(),
            names.join(", ")
        ),
        what_to_do: "If a newer copy of this wallet has spent or refreshed them, there is nothing to do, and this ends when they expire. If \
             nobody with this seed has, keep this database, look at GET /api/v1/wallet/vtxos?all=true, and contact the operator of the Ark \
             server; POST /api/v1/exits/start/vtxos with their ids takes them on chain without the server while they have not expired. \
             For a VTXO that is spent, such an exit brings nothing and costs its fees"
            .into(),
    }))
}

/// What these are worth together.
pub(super) fn total(spends: &[UnprovenSpend]) -> Amount {
    let sats = spends.iter().map(|it| it.amount.to_sat());
    Amount::from_sat(sats.fold(0, u64::saturating_add))
}

/// The height of the chain as far as it is known.
pub(super) fn tip(wallet: &Wallet) -> BlockHeight {
    let tip = wallet.chain.last_tip();
    tip.map_or(BlockHeight::ZERO, |tip| tip.height)
}
