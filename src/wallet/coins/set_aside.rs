//! VTXOs that are set aside: no operation takes them, and the operator is told why (H32, H51).
//!
//! One that is on chain becomes `exited`. One that the server refuses, or whose chain is double-spent, is `locked` without an
//! operation that holds it, until the cause is gone.

use ark_lib::VtxoId;
use bitcoin::Txid;

use super::published::Standing;
use crate::model::{Attention, VtxoState};
use crate::store::{WriteTx, vtxo};
use crate::wallet::Result;
use crate::wallet::engine::attention;

/// The VTXO is on chain.
pub(in crate::wallet) const ON_CHAIN: &str = "vtxo_on_chain";
/// What the VTXO hangs from is spent by a transaction that is not of its chain.
pub(in crate::wallet) const DOUBLE_SPENT: &str = "vtxo_double_spent";
/// The server does not take the VTXO.
pub(in crate::wallet) const REFUSED: &str = "vtxo_refused";
/// An earlier owner may soon claim what the VTXO hangs from. It is not set aside.
pub(in crate::wallet) const EXPOSED: &str = "vtxo_exposed";

/// What can be raised about a VTXO.
pub(in crate::wallet) const CODES: [&str; 4] = [ON_CHAIN, DOUBLE_SPENT, REFUSED, EXPOSED];

/// Why a VTXO is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Cause {
    /// Its own transaction is confirmed.
    OnChain,
    /// This confirmed transaction, which is not of its chain, spends what it hangs from.
    DoubleSpent(Txid),
    /// The server does not take it, for this reason.
    Refused(String),
}

impl Cause {
    /// Why a VTXO with this standing cannot be spent off chain; `None` if it can, or if that is undecided.
    pub(in crate::wallet) fn of(standing: Standing) -> Option<Cause> {
        match standing {
            Standing::Exited | Standing::Claimed(_) => Some(Cause::OnChain),
            Standing::DoubleSpent(txid) => Some(Cause::DoubleSpent(txid)),
            Standing::OffChain { .. } | Standing::Contested(_) => None,
        }
    }

    /// What is raised for it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Cause::OnChain => ON_CHAIN,
            Cause::DoubleSpent(_) => DOUBLE_SPENT,
            Cause::Refused(_) => REFUSED,
        }
    }

    fn fact(&self, id: VtxoId) -> Attention {
        let (message, what_to_do) = match self {
            Cause::OnChain => (
                format!(
                    "VTXO {id} was put on chain by somebody who knows its chain; it cannot be spent off chain any more"
                ),
                "its exit has begun by itself: when GET /api/v1/exits/status/live shows it as claimable, claim it with POST \
                 /api/v1/exits/claim/vtxos or /api/v1/exits/claim/all",
            ),
            Cause::DoubleSpent(txid) => (
                format!(
                    "transaction {txid}, which is not of its chain, spends what VTXO {id} hangs from"
                ),
                "do not count on this VTXO: ask whoever paid it to pay again; if the transaction is not yours, tell the operator of \
                 the Ark server",
            ),
            Cause::Refused(reason) => (
                format!("the Ark server does not take VTXO {id}: {reason}"),
                "the wallet uses it again after an hour; if the server goes on to refuse it, ask the server's operator for the \
                 reason before the VTXO expires",
            ),
        };
        fact(self.code(), id, message, what_to_do)
    }
}

/// A fact about a VTXO.
pub(in crate::wallet) fn fact(
    code: &str,
    id: VtxoId,
    message: String,
    what_to_do: &str,
) -> Attention {
    Attention {
        code: code.to_owned(),
        subject: id.to_string(),
        message,
        what_to_do: what_to_do.to_owned(),
    }
}

/// Sets a VTXO aside and raises the cause. One that an operation holds, or that is spent, stays as it is.
pub(in crate::wallet) fn set_aside(tx: &mut WriteTx<'_>, id: VtxoId, cause: &Cause) -> Result<()> {
    let Some(record) = vtxo::get(tx, id)? else {
        return Ok(());
    };
    // Its output was claimed since the chain was asked.
    if record.claimed {
        return Ok(());
    }
    match (&record.state, cause) {
        (VtxoState::Spendable | VtxoState::Locked(None), Cause::OnChain) => vtxo::exit(tx, id)?,
        (VtxoState::Spendable, _) => vtxo::set_aside(tx, id)?,
        (VtxoState::Locked(None) | VtxoState::Exited, _) => {}
        (VtxoState::Locked(Some(_)) | VtxoState::Spent, _) => return Ok(()),
    }
    if matches!(cause, Cause::Refused(_)) {
        // The server may lack its chain: the catch-up uploads it again.
        vtxo::set_registered(tx, &[id], false)?;
    }
    let fact = cause.fact(id);
    clear_except(tx, id, Some(cause.code()))?;
    attention::raise(tx, &fact)
}

/// Makes a VTXO that was set aside spendable again, because the cause is gone.
pub(in crate::wallet) fn reinstate(tx: &mut WriteTx<'_>, id: VtxoId) -> Result<()> {
    if let Some(record) = vtxo::get(tx, id)?
        && matches!(record.state, VtxoState::Exited | VtxoState::Locked(None))
    {
        vtxo::reinstate(tx, id)?;
    }
    clear_except(tx, id, None)
}

/// Clears what was raised about a VTXO, but not what has this code.
pub(in crate::wallet) fn clear_except(
    tx: &WriteTx<'_>,
    id: VtxoId,
    code: Option<&str>,
) -> Result<()> {
    let subject = id.to_string();
    for other in CODES.into_iter().filter(|it| Some(*it) != code) {
        attention::clear(tx, other, &subject)?;
    }
    Ok(())
}
