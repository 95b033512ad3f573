//! What an exit tells the operator.

use crate::model::{Attention, ExitProblem, ExitRow};
use crate::store::WriteTx;
use crate::wallet::engine::attention;
use crate::wallet::{Result, Wallet};

/// The code of the fact that the on-chain wallet cannot pay for an exit; its subject is the VTXO.
const UNDERFUNDED: &str = "exit_underfunded";

/// What a write does to what is raised about an exit.
pub(super) enum Fact {
    /// Nothing keeps it from going on for lack of coins.
    Clear,
    /// It is raised already.
    Keep,
    /// It lacks coins.
    Raise(Attention),
}

/// What has to be raised for a problem, compared with the problem that the exit had before.
pub(super) async fn underfunded(
    wallet: &Wallet,
    exit: &ExitRow,
    problem: Option<&ExitProblem>,
) -> Result<Fact> {
    let Some(ExitProblem::InsufficientConfirmedFunds { needed, available }) = problem else {
        return Ok(Fact::Clear);
    };
    if exit.problem.as_ref() == problem {
        return Ok(Fact::Keep);
    }
    if wallet.is_splitting_coins() {
        return Ok(Fact::Clear);
    }
    let address = wallet.onchain.next_address().await?;
    let missing = needed.to_sat().saturating_sub(available.to_sat());
    Ok(Fact::Raise(Attention {
        code: UNDERFUNDED.into(),
        subject: exit.vtxo.to_string(),
        message: format!(
            "The exit of VTXO {} waits: its next transaction takes {} sat of confirmed coins of the on-chain wallet, and {} are free.",
            exit.vtxo,
            needed.to_sat(),
            available.to_sat()
        ),
        what_to_do: format!(
            "Deposit at least {missing} sat on {address}. Each further transaction of an exit takes about as much, and what is left comes back as change."
        ),
    }))
}

/// Writes it.
pub(super) fn write(tx: &WriteTx<'_>, exit: &ExitRow, fact: Fact) -> Result<()> {
    match fact {
        Fact::Clear => attention::clear(tx, UNDERFUNDED, &exit.vtxo.to_string()),
        Fact::Keep => Ok(()),
        Fact::Raise(fact) => attention::raise(tx, &fact),
    }
}
