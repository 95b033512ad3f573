//! Unilateral exits.

use bitcoin::{Amount, OutPoint, Txid};
use bitcoin_ext::BlockHeight;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::schema::transaction::TransactionInfo;
use crate::wallet;

/// What is shown of each exit.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ExitStatusQuery {
    /// Also its earlier states.
    history: Option<bool>,
    /// Also its transactions, each with the child that pays for it.
    transactions: Option<bool>,
}

impl From<ExitStatusQuery> for wallet::ExitDetail {
    fn from(query: ExitStatusQuery) -> Self {
        Self {
            history: query.history.unwrap_or(false),
            transactions: query.transactions.unwrap_or(false),
        }
    }
}

/// The exit of a VTXO.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExitTransactionStatus {
    /// The VTXO.
    vtxo_id: String,
    /// How far the exit is.
    state: ExitState,
    /// Its earlier states, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<ExitState>>,
    /// Its transactions, in the order in which they confirm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transactions: Vec<ExitTransactionPackage>,
}

/// How far an exit is. `start`, `processing`, `awaiting-delta`, `claimable` and `claim-in-progress` are under way, the others are over.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::http) enum ExitState {
    /// Nothing is on chain yet.
    Start {
        /// The height of the chain.
        tip_height: u32,
    },
    /// Its transactions are put on chain.
    Processing {
        /// The height of the chain.
        tip_height: u32,
        /// All of them, in the order in which they confirm.
        transactions: Vec<ExitTx>,
    },
    /// All are confirmed. The output cannot be claimed yet.
    AwaitingDelta {
        /// The height of the chain.
        tip_height: u32,
        /// The block of the VTXO's own transaction.
        confirmed_block: ExitBlockRef,
        /// The height of the chain from which on the output can be claimed.
        claimable_height: u32,
    },
    /// The output can be claimed.
    Claimable {
        /// The height of the chain.
        tip_height: u32,
        /// The first block from which on it could be.
        claimable_since: ExitBlockRef,
        /// Always null: the wallet looks at each block.
        last_scanned_block: Option<ExitBlockRef>,
    },
    /// A transaction in the mempool spends the output.
    ClaimInProgress {
        /// The height of the chain.
        tip_height: u32,
        /// The first block from which on it could be claimed.
        claimable_since: ExitBlockRef,
        /// The transaction.
        claim_txid: String,
    },
    /// A confirmed transaction has spent the output.
    Claimed {
        /// The height of the chain.
        tip_height: u32,
        /// The transaction.
        txid: String,
        /// Its block.
        block: ExitBlockRef,
    },
    /// The VTXO was spent off chain before all was confirmed.
    VtxoAlreadySpent {
        /// The height of the chain.
        tip_height: u32,
    },
    /// Somebody else's transaction has spent what the VTXO hangs from.
    VtxoSwept {
        /// The height of the chain.
        tip_height: u32,
        /// What was spent, `txid:vout`.
        spent_inputs: Vec<String>,
    },
    /// Canceled before the VTXO's own transaction was broadcast.
    Canceled {
        /// The height of the chain.
        tip_height: u32,
    },
}

/// A block.
#[derive(Serialize, ToSchema)]
#[schema(as = BlockRef)]
pub(in crate::http) struct ExitBlockRef {
    height: u32,
    hash: String,
}

/// A transaction of an exit.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExitTx {
    /// Its id.
    txid: String,
    /// How far it is.
    status: ExitTxStatus,
}

/// How far a transaction of an exit is.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::http) enum ExitTxStatus {
    /// Not looked at yet.
    VerifyInputs,
    /// What it spends is not confirmed yet.
    AwaitingInputConfirmation {
        /// The transactions that have to confirm first.
        txids: Vec<String>,
    },
    /// It has to be broadcast, with a child that pays for it.
    AwaitingCpfpBroadcast,
    /// In the mempool.
    AwaitingConfirmation {
        /// The child that pays for it.
        child_txid: String,
        /// Who made the child.
        origin: ExitTxOrigin,
    },
    /// In a block.
    Confirmed {
        /// The child that paid for it.
        child_txid: String,
        /// The block.
        block: ExitBlockRef,
        /// Who made the child.
        origin: ExitTxOrigin,
    },
}

/// Who made the child of a transaction.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::http) enum ExitTxOrigin {
    /// The wallet.
    Wallet {
        /// The block of the transaction.
        confirmed_in: Option<ExitBlockRef>,
    },
    /// Somebody else; it is in the mempool. The fees are those of `fee_info`, and 0 outside of `transactions`; clients of barkd 0.1.4
    /// need the keys.
    Mempool {
        /// The fee rate of the transaction and the child, in sat/kvB.
        fee_rate_sat_per_kvb: u64,
        /// The fee rate of both, in satoshis per 1000 weight units.
        #[schema(deprecated)]
        fee_rate: u64,
        /// The fee of both, in satoshis.
        total_fee: u64,
    },
    /// Somebody else; it is in a block.
    Block {
        /// The block.
        confirmed_in: ExitBlockRef,
    },
}

/// A transaction of an exit, with the child that pays for it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExitTransactionPackage {
    /// The transaction.
    exit: TransactionInfo,
    /// The child; null when none is known.
    child: Option<ChildTransactionInfo>,
}

/// The child of a transaction of an exit.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ChildTransactionInfo {
    /// The child.
    info: TransactionInfo,
    /// What it pays for both; missing when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    fee_info: Option<FeeInfo>,
    /// Who made it.
    origin: ExitTxOrigin,
}

/// The fee of a transaction with its child.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FeeInfo {
    /// The fee rate of both, in sat/kvB.
    fee_rate_sat_per_kvb: u64,
    /// The fee of both, in satoshis.
    total_fee_sat: u64,
}

/// How far an exit is, and what keeps it from going on.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExitProgressStatus {
    /// The VTXO.
    vtxo_id: String,
    /// How far the exit is.
    state: ExitState,
    /// What keeps it from going on; missing when nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ExitError>,
}

/// What keeps an exit from going on.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::http) enum ExitError {
    /// The confirmed coins of the on-chain wallet do not pay for the next transaction.
    InsufficientConfirmedFunds {
        /// What it takes, in satoshis.
        needed: u64,
        /// What there is, in satoshis.
        available: u64,
    },
    /// The network does not take a transaction and its child.
    ExitPackageBroadcastFailure {
        /// The transaction.
        txid: String,
        /// The reason.
        error: String,
    },
    /// Somebody else's transaction spends what the VTXO hangs from. The exit is over when that is 6 blocks deep.
    VtxoSwept {
        /// The VTXO.
        vtxo: String,
    },
    /// The wallet has no key, or no preimage, that spends the output.
    ClaimMissingSignableClause {
        /// The VTXO.
        vtxo: String,
    },
}

impl From<wallet::ExitStatus> for ExitTransactionStatus {
    fn from(status: wallet::ExitStatus) -> Self {
        let earlier = |(state, tip): &(wallet::ExitState, BlockHeight)| shown(state, *tip);
        Self {
            vtxo_id: status.row.vtxo.to_string(),
            state: shown(&status.row.state, status.tip),
            history: status.history.map(|it| it.iter().map(earlier).collect()),
            transactions: status.transactions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<wallet::ExitStatus> for ExitProgressStatus {
    fn from(status: wallet::ExitStatus) -> Self {
        Self {
            vtxo_id: status.row.vtxo.to_string(),
            state: shown(&status.row.state, status.tip),
            error: status.row.problem.map(Into::into),
        }
    }
}

fn shown(state: &wallet::ExitState, tip: BlockHeight) -> ExitState {
    use wallet::ExitState as Known;
    let tip_height = tip.to_u32();
    match state {
        Known::Start => ExitState::Start { tip_height },
        Known::Processing { transactions } => ExitState::Processing {
            tip_height,
            transactions: transactions.iter().map(Into::into).collect(),
        },
        Known::AwaitingDelta {
            confirmed_block,
            claimable_height,
        } => ExitState::AwaitingDelta {
            tip_height,
            confirmed_block: (*confirmed_block).into(),
            claimable_height: claimable_height.to_u32(),
        },
        Known::Claimable { claimable_since } => ExitState::Claimable {
            tip_height,
            claimable_since: (*claimable_since).into(),
            last_scanned_block: None,
        },
        Known::ClaimInProgress {
            claimable_since,
            claim_txid,
        } => ExitState::ClaimInProgress {
            tip_height,
            claimable_since: (*claimable_since).into(),
            claim_txid: claim_txid.to_string(),
        },
        Known::Claimed { txid, block } => ExitState::Claimed {
            tip_height,
            txid: txid.to_string(),
            block: (*block).into(),
        },
        Known::VtxoAlreadySpent => ExitState::VtxoAlreadySpent { tip_height },
        Known::VtxoSwept { spent_inputs } => ExitState::VtxoSwept {
            tip_height,
            spent_inputs: spent_inputs.iter().map(OutPoint::to_string).collect(),
        },
        Known::Canceled => ExitState::Canceled { tip_height },
    }
}

impl From<wallet::Block> for ExitBlockRef {
    fn from(block: wallet::Block) -> Self {
        Self {
            height: block.height.to_u32(),
            hash: block.hash.to_string(),
        }
    }
}

impl From<&wallet::ExitTx> for ExitTx {
    fn from(known: &wallet::ExitTx) -> Self {
        Self {
            txid: known.txid.to_string(),
            status: (&known.status).into(),
        }
    }
}

impl From<&wallet::ExitTxStatus> for ExitTxStatus {
    fn from(known: &wallet::ExitTxStatus) -> Self {
        use wallet::ExitTxStatus as Known;
        match known {
            Known::VerifyInputs => Self::VerifyInputs,
            Known::AwaitingInputConfirmation { txids } => Self::AwaitingInputConfirmation {
                txids: txids.iter().map(Txid::to_string).collect(),
            },
            Known::AwaitingCpfpBroadcast => Self::AwaitingCpfpBroadcast,
            Known::AwaitingConfirmation { child_txid, origin } => Self::AwaitingConfirmation {
                child_txid: child_txid.to_string(),
                origin: shown_origin(*origin, None),
            },
            Known::Confirmed {
                child_txid,
                block,
                origin,
            } => Self::Confirmed {
                child_txid: child_txid.to_string(),
                block: (*block).into(),
                origin: shown_origin(*origin, None),
            },
        }
    }
}

fn shown_origin(known: wallet::ExitTxOrigin, fee: Option<&FeeInfo>) -> ExitTxOrigin {
    use wallet::ExitTxOrigin as Known;
    match known {
        Known::Wallet { confirmed_in } => ExitTxOrigin::Wallet {
            confirmed_in: confirmed_in.map(Into::into),
        },
        Known::Mempool => {
            let fee_rate_sat_per_kvb = fee.map_or(0, |fee| fee.fee_rate_sat_per_kvb);
            ExitTxOrigin::Mempool {
                fee_rate_sat_per_kvb,
                fee_rate: fee_rate_sat_per_kvb / 4,
                total_fee: fee.map_or(0, |fee| fee.total_fee_sat),
            }
        }
        Known::Block { confirmed_in } => ExitTxOrigin::Block {
            confirmed_in: confirmed_in.into(),
        },
    }
}

impl From<wallet::ExitPackage> for ExitTransactionPackage {
    fn from(package: wallet::ExitPackage) -> Self {
        Self {
            exit: (&package.parent).into(),
            child: package.child.map(Into::into),
        }
    }
}

impl From<wallet::PackageChild> for ChildTransactionInfo {
    fn from(child: wallet::PackageChild) -> Self {
        let fee_info = child.fee.map(|(fee, fee_rate_sat_per_kvb)| FeeInfo {
            fee_rate_sat_per_kvb,
            total_fee_sat: fee.to_sat(),
        });
        Self {
            info: (&child.transaction).into(),
            origin: shown_origin(child.origin, fee_info.as_ref()),
            fee_info,
        }
    }
}

impl From<wallet::ExitProblem> for ExitError {
    fn from(problem: wallet::ExitProblem) -> Self {
        use wallet::ExitProblem as Known;
        match problem {
            Known::InsufficientConfirmedFunds { needed, available } => {
                Self::InsufficientConfirmedFunds {
                    needed: Amount::to_sat(needed),
                    available: Amount::to_sat(available),
                }
            }
            Known::ExitPackageBroadcastFailure { txid, error } => {
                Self::ExitPackageBroadcastFailure {
                    txid: txid.to_string(),
                    error,
                }
            }
            Known::VtxoSwept { vtxo } => Self::VtxoSwept {
                vtxo: vtxo.to_string(),
            },
            Known::ClaimMissingSignableClause { vtxo } => Self::ClaimMissingSignableClause {
                vtxo: vtxo.to_string(),
            },
        }
    }
}
