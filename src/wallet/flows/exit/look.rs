//! What the chain says of the transactions of an exit, from the top (H25).

use ark_lib::Vtxo;
use ark_lib::vtxo::Full;
use bitcoin::{OutPoint, Transaction, Txid};
use bitcoin_ext::TransactionExt;

use super::stored;
use crate::chain::TxStatus;
use crate::model::{Block, ExitRow, ExitState, ExitTx, ExitTxOrigin, ExitTxStatus};
use crate::wallet::{Result, Wallet};

/// What the chain says of an exit.
pub(super) struct View {
    /// All transactions, with what is known of them.
    pub(super) transactions: Vec<ExitTx>,
    /// The first one that is not confirmed; `None` when all are.
    pub(super) frontier: Option<Frontier>,
}

/// The first transaction of an exit that is not confirmed.
pub(super) struct Frontier {
    /// The transaction.
    pub(super) parent: Transaction,
    /// Its id.
    pub(super) txid: Txid,
    /// The output that pays for it.
    pub(super) anchor: Option<OutPoint>,
    /// How far it is.
    pub(super) stage: Stage,
    /// Whether it is the VTXO's own transaction.
    pub(super) is_last: bool,
}

/// How far the first unconfirmed transaction of an exit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// What the VTXO hangs from is not confirmed.
    Hanging(TxStatus),
    /// It can be broadcast.
    Absent,
    /// In the mempool.
    Mempool,
}

impl View {
    pub(super) fn state(&self) -> ExitState {
        ExitState::Processing {
            transactions: self.transactions.clone(),
        }
    }

    /// Sets the status of the first unconfirmed transaction.
    pub(super) fn set(&mut self, txid: Txid, status: ExitTxStatus) {
        if let Some(it) = self.transactions.iter_mut().find(|it| it.txid == txid) {
            it.status = status;
        }
    }

    /// The block of the VTXO's own transaction; `None` unless all are confirmed.
    pub(super) fn last_block(&self) -> Option<Block> {
        match self.transactions.last()?.status {
            ExitTxStatus::Confirmed { block, .. } => Some(block),
            _ => None,
        }
    }
}

/// The block of a confirmed transaction.
pub(super) fn block_of(status: TxStatus) -> Option<Block> {
    match status {
        TxStatus::Confirmed { height, hash } => Some(Block { height, hash }),
        TxStatus::NotFound | TxStatus::Mempool => None,
    }
}

/// Asks the chain how far the exit is.
///
/// # Errors
/// `chain_unavailable`; the database's.
pub(super) async fn look(wallet: &Wallet, exit: &ExitRow, vtxo: &Vtxo<Full>) -> Result<View> {
    let mut view = View {
        transactions: Vec::new(),
        frontier: None,
    };
    let count = vtxo.transactions().len();
    let mut above = vtxo.chain_anchor().txid;
    for (position, item) in vtxo.transactions().enumerate() {
        let txid = item.tx.compute_txid();
        let anchor = item.tx.fee_anchor().map(|(anchor, _)| anchor);
        let status = match &view.frontier {
            Some(_) => waiting_for(above),
            None => match wallet.chain.status(txid).await? {
                TxStatus::Confirmed { height, hash } => {
                    let block = Block { height, hash };
                    match known_confirmed(exit, txid, block) {
                        Some(known) => known,
                        None => confirmed(wallet, txid, anchor, block).await?,
                    }
                }
                status => {
                    let (stage, shown) = match status {
                        TxStatus::Mempool => (Stage::Mempool, ExitTxStatus::AwaitingCpfpBroadcast),
                        _ if position > 0 => (Stage::Absent, ExitTxStatus::AwaitingCpfpBroadcast),
                        _ => match wallet.chain.status(above).await? {
                            TxStatus::Confirmed { .. } => {
                                (Stage::Absent, ExitTxStatus::AwaitingCpfpBroadcast)
                            }
                            status => (Stage::Hanging(status), waiting_for(above)),
                        },
                    };
                    view.frontier = Some(Frontier {
                        parent: item.tx,
                        txid,
                        anchor,
                        stage,
                        is_last: position + 1 == count,
                    });
                    shown
                }
            },
        };
        view.transactions.push(ExitTx { txid, status });
        above = txid;
    }
    Ok(view)
}

fn waiting_for(above: Txid) -> ExitTxStatus {
    ExitTxStatus::AwaitingInputConfirmation { txids: vec![above] }
}

/// What is stored of a transaction that is still in the same block.
fn known_confirmed(exit: &ExitRow, txid: Txid, now_in: Block) -> Option<ExitTxStatus> {
    let ExitState::Processing { transactions } = &exit.state else {
        return None;
    };
    let known = transactions.iter().find(|known| known.txid == txid)?;
    match &known.status {
        ExitTxStatus::Confirmed { block, .. } if *block == now_in => Some(known.status.clone()),
        _ => None,
    }
}

/// Finds out which child has paid for a confirmed transaction.
async fn confirmed(
    wallet: &Wallet,
    txid: Txid,
    anchor: Option<OutPoint>,
    block: Block,
) -> Result<ExitTxStatus> {
    let spend = match anchor {
        Some(anchor) => wallet.chain.spender(anchor).await?,
        None => None,
    };
    let child = spend.map(|spend| spend.txid);
    let is_ours = match child {
        Some(child) => stored::is_ours(wallet, txid, child).await?,
        None => false,
    };
    let origin = match is_ours {
        true => ExitTxOrigin::Wallet {
            confirmed_in: Some(block),
        },
        false => ExitTxOrigin::Block {
            confirmed_in: block,
        },
    };
    Ok(ExitTxStatus::Confirmed {
        child_txid: child.unwrap_or(txid),
        block,
        origin,
    })
}
