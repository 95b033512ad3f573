//! The exits, as the API shows them.

use ark_lib::VtxoId;
use bitcoin::{Amount, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use rusqlite::Connection;

use crate::model::{ChildOrigin, ExitRow, ExitState, ExitTx, ExitTxOrigin, ExitTxStatus};
use crate::store::{exit, vtxo_body};
use crate::wallet::{Error, Result, Wallet};

use super::note;

/// Which exits are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitFilter {
    /// All.
    All,
    /// Those that are under way.
    Live,
    /// Those that are over.
    Finished,
}

/// What is shown of an exit besides its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitDetail {
    /// Its earlier states.
    pub history: bool,
    /// Its transactions.
    pub transactions: bool,
}

/// An exit.
#[derive(Clone, Debug)]
pub struct ExitStatus {
    /// What is stored of it.
    pub row: ExitRow,
    /// The height of the chain.
    pub tip: BlockHeight,
    /// The earlier states, oldest first, with the height of the chain when each was left.
    pub history: Option<Vec<(ExitState, BlockHeight)>>,
    /// Its transactions, in the order in which they confirm.
    pub transactions: Vec<ExitPackage>,
}

/// A transaction of an exit, with the child that pays for it.
#[derive(Clone, Debug)]
pub struct ExitPackage {
    /// The transaction.
    pub parent: Transaction,
    /// The child, if one is known.
    pub child: Option<PackageChild>,
}

/// The child of a transaction of an exit.
#[derive(Clone, Debug)]
pub struct PackageChild {
    /// The child.
    pub transaction: Transaction,
    /// The fee of both, and their fee rate in sat/kvB; `None` when unknown.
    pub fee: Option<(Amount, u64)>,
    /// Who made it.
    pub origin: ExitTxOrigin,
}

impl Wallet {
    /// The exits, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn exits(&self, filter: ExitFilter, detail: ExitDetail) -> Result<Vec<ExitStatus>> {
        let tip = note::tip(self);
        self.store
            .read(move |connection| {
                let rows = match filter {
                    ExitFilter::All => exit::all(connection)?,
                    ExitFilter::Live => exit::live(connection)?,
                    ExitFilter::Finished => exit::finished(connection)?,
                };
                rows.into_iter()
                    .map(|row| show(connection, row, tip, detail))
                    .collect()
            })
            .await
    }

    /// The last exit of a VTXO.
    ///
    /// # Errors
    /// `unknown_exit` if it never was exited; the database's.
    pub async fn exit_of(&self, vtxo: VtxoId, detail: ExitDetail) -> Result<ExitStatus> {
        let tip = note::tip(self);
        self.store
            .read(move |connection| {
                let row = exit::last_of(connection, vtxo)?.ok_or_else(|| unknown(vtxo))?;
                show(connection, row, tip, detail)
            })
            .await
    }
}

/// The error for a VTXO that was never exited.
pub(super) fn unknown(vtxo: VtxoId) -> Error {
    let message = format!("VTXO {vtxo} has no exit; GET /api/v1/exits/status/all lists the exits");
    Error::not_found("unknown_exit", message, vtxo)
}

fn show(
    connection: &Connection,
    row: ExitRow,
    tip: BlockHeight,
    detail: ExitDetail,
) -> Result<ExitStatus> {
    let history = match detail.history || detail.transactions {
        true => exit::history(connection, row.id)?,
        false => Vec::new(),
    };
    let transactions = match detail.transactions {
        true => packages(connection, &row, &history)?,
        false => Vec::new(),
    };
    Ok(ExitStatus {
        row,
        tip,
        history: detail.history.then_some(history),
        transactions,
    })
}

fn packages(
    connection: &Connection,
    row: &ExitRow,
    history: &[(ExitState, BlockHeight)],
) -> Result<Vec<ExitPackage>> {
    let mut states = history.iter().map(|(state, _)| state).chain([&row.state]);
    let known: &[ExitTx] = states
        .rfind(|state| matches!(state, ExitState::Processing { .. }))
        .and_then(|state| match state {
            ExitState::Processing { transactions } => Some(transactions.as_slice()),
            _ => None,
        })
        .unwrap_or_default();
    let mut packages = Vec::new();
    for item in vtxo_body::get(connection, row.vtxo)?.transactions() {
        let txid = item.tx.compute_txid();
        let child = exit::child(connection, txid)?;
        packages.push(ExitPackage {
            child: child.and_then(|child| {
                let transaction = child.body?;
                let size =
                    item.tx.weight().to_vbytes_ceil() + transaction.weight().to_vbytes_ceil();
                let rate = |fee: Amount| fee.to_sat().saturating_mul(1_000) / size.max(1);
                Some(PackageChild {
                    fee: child.fee.map(|fee| (fee, rate(fee))),
                    origin: origin_of(known, txid, child.origin),
                    transaction,
                })
            }),
            parent: item.tx,
        });
    }
    Ok(packages)
}

/// Who made the child of a transaction, with the block if there is one.
fn origin_of(known: &[ExitTx], txid: Txid, stored: ChildOrigin) -> ExitTxOrigin {
    let status = known.iter().find(|it| it.txid == txid).map(|it| &it.status);
    match status {
        Some(
            ExitTxStatus::Confirmed { origin, .. }
            | ExitTxStatus::AwaitingConfirmation { origin, .. },
        ) => *origin,
        _ if stored == ChildOrigin::Wallet => ExitTxOrigin::Wallet { confirmed_in: None },
        _ => ExitTxOrigin::Mempool,
    }
}
