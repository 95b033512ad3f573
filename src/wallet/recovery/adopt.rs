//! Writes judged VTXOs (docs/protocol.md §4.10, §4.11, H35, H36).

use ark_lib::VtxoId;
use bitcoin::{Amount, SignedAmount};

use super::judge::{Judged, Judgement};
use crate::model::VtxoState;
use crate::store::{WriteTx, anchor, attention as facts, exit, vtxo};
use crate::wallet::account::keys::{self, WalletKeys};
use crate::wallet::coins::set_aside::{self, Cause};
use crate::wallet::engine::attention;
use crate::wallet::{Error, Result};

/// The server or the chain does not say what the VTXO is worth. It is locked, and no operation holds it.
pub(in crate::wallet) const DOUBTFUL: &str = "vtxo_doubtful";

/// Writes what follows from a judgement, and returns the change of the balance.
///
/// A new VTXO is stored as spendable, spent, exited, or, while that is undecided, as locked without a holder, which is shown. One that is
/// not ours, not valid or in flight is not stored, nor one whose anchor the chain does not know: it may be invented. Of those that are
/// stored already, one that is spent, exited, or held by an operation stays as it is.
pub(in crate::wallet) fn adopt(
    tx: &mut WriteTx<'_>,
    keys: &WalletKeys,
    judged: &Judged,
) -> Result<SignedAmount> {
    let Some(key_index) = judged.key_index else {
        return Ok(SignedAmount::ZERO);
    };
    let id = judged.id();
    let before = state_of(tx, id)?;
    match &before {
        None => take(tx, keys, judged, key_index)?,
        Some(VtxoState::Spendable) => match judged.judgement {
            Judgement::Spent => vtxo::spend(tx, id)?,
            Judgement::Exited => set_aside::set_aside(tx, id, &Cause::OnChain)?,
            _ => {}
        },
        Some(VtxoState::Locked(None)) => settle(tx, judged)?,
        Some(VtxoState::Locked(Some(_)) | VtxoState::Spent | VtxoState::Exited) => {}
    }
    let after = state_of(tx, id)?;
    let amount = judged.vtxo.amount();
    Ok(owned(amount, after.as_ref())? - owned(amount, before.as_ref())?)
}

fn take(tx: &mut WriteTx<'_>, keys: &WalletKeys, judged: &Judged, key_index: u32) -> Result<()> {
    let state = match &judged.judgement {
        Judgement::Spendable | Judgement::Exited => VtxoState::Spendable,
        Judgement::Spent => VtxoState::Spent,
        Judgement::Undecided(_) if judged.anchor.is_some() => VtxoState::Locked(None),
        Judgement::Undecided(_)
        | Judgement::Foreign
        | Judgement::Invalid(_)
        | Judgement::Gone(_)
        | Judgement::InFlight(_) => return Ok(()),
    };
    keys::reveal_to(tx, keys, key_index)?;
    vtxo::insert(tx, &judged.vtxo, state)?;
    if let Some(transaction) = &judged.anchor {
        anchor::insert(tx, transaction)?;
    }
    match &judged.judgement {
        Judgement::Exited => set_aside::set_aside(tx, judged.id(), &Cause::OnChain),
        Judgement::Undecided(reason) => doubt(tx, judged, reason),
        _ => Ok(()),
    }
}

/// Decides about a VTXO that is set aside. One that is set aside for another reason than a doubt waits for that.
fn settle(tx: &mut WriteTx<'_>, judged: &Judged) -> Result<()> {
    let id = judged.id();
    let doubted = facts::is_raised(tx, DOUBTFUL, &id.to_string())?;
    match &judged.judgement {
        // The chain decides.
        Judgement::Spent if exit::live_of(tx, id)?.is_some() => return Ok(()),
        Judgement::Spent => vtxo::spend(tx, id)?,
        Judgement::Exited => set_aside::set_aside(tx, id, &Cause::OnChain)?,
        _ if !doubted => return Ok(()),
        Judgement::Spendable => vtxo::reinstate(tx, id)?,
        Judgement::Foreign | Judgement::Invalid(_) | Judgement::Gone(_) => vtxo::spend(tx, id)?,
        Judgement::InFlight(reason) | Judgement::Undecided(reason) => {
            return doubt(tx, judged, reason);
        }
    }
    if let Some(transaction) = &judged.anchor {
        anchor::insert(tx, transaction)?;
    }
    attention::clear(tx, DOUBTFUL, &id.to_string())
}

fn doubt(tx: &WriteTx<'_>, judged: &Judged, reason: &str) -> Result<()> {
    let id = judged.id();
    let fact = set_aside::fact(
        DOUBTFUL,
        id,
        format!(
            "VTXO {id} over {} sat belongs to this wallet, but whether it can be spent is not known: {reason}",
            judged.vtxo.amount().to_sat()
        ),
        "nothing now: the wallet asks the Ark server and the chain again, and uses the VTXO as soon as both say that it is unspent. If \
         this lasts, ask the server's operator before the VTXO expires",
    );
    attention::raise(tx, &fact)
}

fn state_of(tx: &WriteTx<'_>, id: VtxoId) -> Result<Option<VtxoState>> {
    Ok(vtxo::get(tx, id)?.map(|record| record.state.clone()))
}

/// What a VTXO in this state counts in the balance.
fn owned(amount: Amount, state: Option<&VtxoState>) -> Result<SignedAmount> {
    match state {
        None | Some(VtxoState::Spent) => Ok(SignedAmount::ZERO),
        Some(_) => amount.to_signed().map_err(Error::internal),
    }
}
